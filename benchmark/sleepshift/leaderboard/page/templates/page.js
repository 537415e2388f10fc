"use strict";
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const tools = document.querySelector(".tools");

  // Sorting: a click, Enter or Space on a heading; what has no number stays at the end.
  const key = (row, place, numeric) => {
    const cell = row.cells[place];
    if (!numeric) return cell.textContent.trim().toLowerCase();
    return "v" in cell.dataset ? Number(cell.dataset.v) : NaN;
  };
  const sort = (table, place, heading) => {
    const numeric = heading.classList.contains("n");
    const now = heading.getAttribute("aria-sort");
    const first = "falling" in heading.dataset ? -1 : 1;
    const way = now === "ascending" ? -1 : now === "descending" ? 1 : first;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, place, numeric), row]);
    rows.sort(([a], [b]) => {
      if (!numeric) return way * a.localeCompare(b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return way * (a - b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    all("th[aria-sort]", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
  };
  for (const table of all("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, place, heading));
    });
  }

  // Choosing: groups of people, methods by name, rows of one table by what they are about.
  const found = () => {
    const part = tools.elements.method.value.trim().toLowerCase();
    const chosen = new Map();
    for (const select of all("select[data-table]")) {
      const own = chosen.get(select.dataset.table) ?? [];
      chosen.set(select.dataset.table, [...own, [select.dataset.by, select.value]]);
    }
    const names = new Set();
    for (const item of all("[data-method]")) {
      const right = item.dataset.method.toLowerCase().includes(part);
      const by = chosen.get(item.closest("table")?.id) ?? [];
      // A search by name reaches further than the method chosen for one table.
      const wanted = by.every(([what, value]) =>
        !value || (part && what === "method") || item.dataset[what] === value);
      item.hidden = !(right && wanted);
      if (right) names.add(item.dataset.method);
    }
    const n = names.size;
    tools.elements.found.value = part ? `${n} ${n === 1 ? "method" : "methods"}` : "";
  };
  const view = (id) => {
    for (const section of all("[data-view]")) section.hidden = id !== "" && section.dataset.view !== id;
    for (const task of all("section.task")) {
      task.hidden = !all("section.group", task).some((group) => !group.hidden);
    }
  };
  tools.hidden = false;
  all(".choose").forEach((item) => { item.hidden = false; });
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    if (event.target.name === "view") view(event.target.value);
    found();
  });
  all("select[data-table]").forEach((select) => select.addEventListener("change", found));
  found();

  // A link into a group that is not shown shows it; paper has no lids.
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    const section = target?.closest("[data-view]");
    if (!section?.hidden && !target?.closest("[hidden]")) return;
    tools.elements.view.value = "";
    view("");
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => all("details").forEach((item) => { item.open = true; }));
})();
