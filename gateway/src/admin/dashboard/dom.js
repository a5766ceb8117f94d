// Elements, made of text: what the gateway tells is partly written by its clients, so nothing is ever parsed as HTML.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/// An element. `properties` are attributes, or listeners by the name of their event with `on` before it.
export const element = (name, properties = {}, ...children) => fill(document.createElement(name), properties, children);

/// The same for an element of a drawing.
export const shape = (name, properties = {}, ...children) => fill(document.createElementNS(SVG, name), properties, children);

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/// Makes what `node` holds look like `children`. What stays is not touched: it keeps its focus and its place. Listeners
/// belong on `node`, which outlives what it holds.
export function show(node, ...children) {
  const made = node.cloneNode(false);
  made.append(...children);
  patch(node, made);
}

function patch(node, made) {
  if (node.isEqualNode(made)) return;
  if (node.nodeName !== made.nodeName) return node.replaceWith(made);
  if (node.nodeType === Node.TEXT_NODE) return void (node.data = made.data);
  for (const { name } of [...node.attributes]) if (!made.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of made.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  const [before, after] = [[...node.childNodes], [...made.childNodes]];
  after.forEach((child, index) => (before[index] ? patch(before[index], child) : node.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

/// A table whose head is `columns`; the names of those of numbers begin with a `#`.
export function table(caption, columns, rows) {
  return element('table', {}, element('caption', {}, caption),
    element('thead', {}, element('tr', {}, columns.map((column) => (
      element('th', { scope: 'col', class: column.startsWith('#') ? 'number' : null }, column.replace('#', '')))))),
    element('tbody', {}, rows));
}

/// A dot and a word: what is told by a colour is told in words too.
export const badge = (kind, text = kind) => element('span', { class: `badge ${kind}` }, text);

/// Tells in passing that something was done.
export function toast(text) {
  const note = element('p', {}, text);
  byId('toasts').append(note);
  setTimeout(() => note.remove(), 6_000);
}
