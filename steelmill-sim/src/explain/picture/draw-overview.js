// Overview of the whole run at the right: event density, faults, search matches, and the part on the screen.

const overview = { stale: true, canvas: document.createElement('canvas') };

function drawOverview() {
  const x0 = view.width - OVERVIEW;
  const height = bodyHeight();
  if (overview.stale) renderOverview(height);
  context.fillStyle = colour.panel;
  context.fillRect(x0, HEAD, OVERVIEW, height);
  context.drawImage(overview.canvas, x0, HEAD, OVERVIEW, height);
  const scale = height / view.axis.length;
  const y0 = HEAD + Math.max(0, view.top) * scale;
  const y1 = HEAD + Math.min(view.axis.length, toPosition(view.height)) * scale;
  context.fillStyle = colour.accent;
  context.globalAlpha = .14;
  context.fillRect(x0, y0, OVERVIEW, Math.max(3, y1 - y0));
  context.globalAlpha = 1;
  context.strokeStyle = colour.accent;
  context.lineWidth = 1.5;
  context.strokeRect(x0 + 1, y0 + .5, OVERVIEW - 2, Math.max(3, y1 - y0 - 1));
  context.strokeStyle = colour.hair;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x0 + .5, HEAD);
  context.lineTo(x0 + .5, view.height);
  context.stroke();
  if (view.selected >= 0) {
    const y = HEAD + view.axis.position[view.selected] * scale;
    context.fillStyle = colour.accent;
    context.beginPath();
    context.moveTo(x0 - 1, y - 5);
    context.lineTo(x0 + 6, y);
    context.lineTo(x0 - 1, y + 5);
    context.fill();
  }
}

function renderOverview(height) {
  overview.stale = false;
  const ratio = devicePixelRatio || 1;
  const { canvas } = overview;
  canvas.width = Math.round(OVERVIEW * ratio);
  canvas.height = Math.max(1, Math.round(height * ratio));
  const c = canvas.getContext('2d');
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  const scale = height / view.axis.length;
  const at = (i) => view.axis.position[i] * scale;
  for (const band of bands) {
    if (twinLanes.has(band.lanes[0])) continue;
    const y0 = band.from >= 0 ? at(band.from) : 0;
    const y1 = band.until >= 0 ? at(band.until) : height;
    c.fillStyle = band.kind === 'down' ? colour.gone : colour.bad;
    c.globalAlpha = .3;
    c.fillRect(4, y0, 10, Math.max(1.5, y1 - y0));
  }
  c.globalAlpha = 1;
  const counts = new Float64Array(Math.ceil(height) + 1);
  for (const i of visible) counts[Math.max(0, Math.min(counts.length - 1, Math.floor(at(i))))]++;
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  c.fillStyle = colour.line;
  counts.forEach((count, y) => { if (count) c.fillRect(18, y, 2 + (OVERVIEW - 24) * Math.sqrt(count / most), 1); });
  c.fillStyle = colour.bad;
  operations.blamed.forEach((blamed, n) => { if (blamed) c.fillRect(18, at(operations.invoke[n]) - 1, OVERVIEW - 22, 2.5); });
  c.fillStyle = colour.accent;
  for (const i of search.found) c.fillRect(OVERVIEW - 9, at(i) - 1, 8, 2);
  if (picture.failure) {
    c.fillStyle = colour.bad;
    const y = picture.failure.event >= 0 ? at(picture.failure.event) : view.axis.of(picture.failure.at) * scale;
    c.fillRect(0, Math.min(height - 2, y - 1), OVERVIEW, 2);
  }
}
