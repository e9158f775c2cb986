// Theme: light, dark or the system's; reads the colours for the canvas from the style sheet.

const THEMES = ['auto', 'light', 'dark'];
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
let theme = 'auto';
let colour = {};

function setTheme(name) {
  theme = name;
  const dark = name === 'dark' || (name === 'auto' && systemIsDark.matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  document.getElementById('theme').textContent = `Theme: ${name}`;
  const style = getComputedStyle(document.documentElement);
  for (const name of ['ground', 'panel', 'raised', 'ink', 'muted', 'hair', 'line', 'accent', 'accent-soft', 'bad', 'bad-soft',
    'late', 'reset', 'good', 'wait', 'leave', 'gone', 'operation', 'mark', 'stripe']) {
    colour[name.replace('-s', 'S')] = style.getPropertyValue(`--${name}`).trim();
  }
  hatches.clear();
  overview.stale = true;
  changed();
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  setTheme(next);
  // Storage may be refused for a page from disk.
  try { localStorage.setItem('steelmill-theme', next); } catch { /* not stored */ }
}

function storedTheme() {
  try {
    const stored = localStorage.getItem('steelmill-theme');
    return THEMES.includes(stored) ? stored : 'auto';
  } catch {
    return 'auto';
  }
}

// Fill patterns, so that areas do not depend on colour alone.
const hatches = new Map();
function hatch(name, paint) {
  const key = `${name} ${paint}`;
  if (hatches.has(key)) return hatches.get(key);
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const c = tile.getContext('2d');
  c.strokeStyle = c.fillStyle = paint;
  c.lineWidth = 1.3;
  c.beginPath();
  if (name === 'rising') { c.moveTo(-2, 10); c.lineTo(10, -2); c.moveTo(-2, 2); c.lineTo(2, -2); c.moveTo(6, 10); c.lineTo(10, 6); }
  if (name === 'falling') { c.moveTo(-2, -2); c.lineTo(10, 10); c.moveTo(-2, 6); c.lineTo(2, 10); c.moveTo(6, -2); c.lineTo(10, 2); }
  if (name === 'level') { c.moveTo(0, 2); c.lineTo(8, 2); c.moveTo(0, 6); c.lineTo(8, 6); }
  c.stroke();
  if (name === 'dots') { c.fillRect(1, 1, 2, 2); c.fillRect(5, 5, 2, 2); }
  const made = context.createPattern(tile, 'repeat');
  hatches.set(key, made);
  return made;
}
