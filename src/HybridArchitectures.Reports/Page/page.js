// a pointer over a loss chart reads all runs at its place
for (const chart of document.querySelectorAll('.chart')) {
  const data = JSON.parse(document.getElementById(chart.dataset.numbers).textContent);
  const [left, top, right, bottom] = chart.dataset.box.split(' ').map(Number), [end, low, high] = data.window;
  const probe = chart.querySelector('.probe'), line = probe.querySelector('line');
  const tip = document.createElement('div');
  tip.className = 'tip';
  tip.hidden = true;
  chart.parentNode.append(tip);
  const dots = data.runs.map(run => {
    const dot = document.createElementNS(chart.namespaceURI, 'circle');
    dot.setAttribute('class', 'f-' + run.ink);
    dot.setAttribute('r', 4);
    probe.append(dot);
    return dot;
  });
  const nearest = (points, x) => {
    let from = 0, to = points.length - 1;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (points[middle][0] < x) from = middle + 1; else to = middle;
    }
    return from > 0 && x - points[from - 1][0] < points[from][0] - x ? points[from - 1] : points[from];
  };
  const hide = () => { tip.hidden = true; probe.setAttribute('visibility', 'hidden'); };
  chart.addEventListener('pointerleave', hide);
  chart.addEventListener('pointermove', event => {
    const box = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / box.width;
    const x = ((event.clientX - box.left) * scale - left) / (right - left) * end;
    if (x < 0 || x > end) return hide();
    const px = left + x / end * (right - left);
    line.setAttribute('x1', px);
    line.setAttribute('x2', px);
    probe.setAttribute('visibility', 'visible');
    tip.replaceChildren();
    const head = document.createElement('div');
    head.className = 'soft';
    head.textContent = x.toLocaleString('en-US', { maximumFractionDigits: end < 1000 ? 1 : 0 }) + ' ' + data.unit;
    tip.append(head);
    data.runs.forEach((run, i) => {
      const shown = run.smooth.length ? nearest(run.smooth, x) : null, heldOut = run.heldOut.filter(point => point[0] <= x).pop();
      dots[i].setAttribute('visibility', shown && shown[1] <= high ? 'inherit' : 'hidden');
      if (!shown && !heldOut) return;
      if (shown) {
        dots[i].setAttribute('cx', left + shown[0] / end * (right - left));
        dots[i].setAttribute('cy', bottom - (shown[1] - low) / (high - low) * (bottom - top));
      }
      const row = document.createElement('div'), name = document.createElement('span');
      name.className = 't-' + run.ink;
      name.textContent = '● ';
      row.append(name, run.name + (shown ? '  ' + shown[1].toFixed(3) : '') + (heldOut ? '  (held-out ' + heldOut[1].toFixed(3) + ')' : ''));
      tip.append(row);
    });
    tip.hidden = false;
    const at = event.clientX - box.left;
    tip.style.left = Math.max(0, at + tip.offsetWidth + 24 > box.width ? at - tip.offsetWidth - 14 : at + 14) + 'px';
  });
}
