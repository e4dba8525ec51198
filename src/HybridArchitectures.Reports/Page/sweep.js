// tables sort by a click on a heading; designs are chosen by the boxes above
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  table.querySelectorAll('th').forEach((head, column) => head.addEventListener('click', () => {
    const down = head.dataset.order !== 'up', key = row => {
      const cell = row.cells[column], value = parseFloat(cell.dataset.value ?? cell.textContent);
      return Number.isNaN(value) ? cell.textContent : value;
    };
    head.dataset.order = down ? 'up' : 'down';
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b), order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return down ? order : -order;
    });
    body.append(...rows);
  }));
}
for (const box of document.querySelectorAll('.designs input')) {
  box.addEventListener('change', () => {
    const design = box.dataset.design;
    for (const part of document.querySelectorAll('[data-design]')) {
      if (part !== box && part.dataset.design === design) part.classList.toggle('hidden', !box.checked);
    }
    for (const part of document.querySelectorAll('figure .s-run' + design + ', figure circle.f-run' + design)) part.classList.toggle('faded', !box.checked);
  });
}
