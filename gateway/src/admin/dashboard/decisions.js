// The last decisions, newest first, with filters.

import { get } from './api.js';
import { showDecision } from './dialogs.js';
import { badge, byId, element, table } from './dom.js';
import { span, timeOfDay } from './format.js';

const MOST = 200;
const COLUMNS = ['Time', 'Decision', 'Reason', 'Route', 'Request', 'Client', 'Subject', '#Status', '#Took'];

/// What is shown: the entries, newest first, and the number of the last one that was looked at.
const state = { entries: [], last: 0, isPaused: false, filters: {} };
let asked = 0;

export function setUp() {
  const filters = byId('filters');
  const changed = () => {
    state.filters = Object.fromEntries([...new FormData(filters)].map(([name, value]) => [name, value.trim()]));
    begin();
    load(true);
  };
  filters.addEventListener('input', changed);
  filters.addEventListener('submit', (event) => event.preventDefault());
  filters.addEventListener('reset', () => setTimeout(changed));
  byId('pause').addEventListener('click', ({ currentTarget }) => {
    state.isPaused = !state.isPaused;
    currentTarget.setAttribute('aria-pressed', state.isPaused);
    currentTarget.textContent = state.isPaused ? 'Go on' : 'Pause';
  });
  byId('decisions').addEventListener('click', ({ target }) => {
    const row = target.closest('tr[data-sequence]');
    const entry = row && state.entries.find(({ sequence }) => `${sequence}` === row.dataset.sequence);
    if (entry) showDecision(entry);
  });
}

/// Nothing has been looked at.
function begin() {
  Object.assign(state, { entries: [], last: 0 });
  byId('decisions').replaceChildren();
}

/// Gets what is new. What was asked for with filters that have changed since is not used.
export async function load(isWanted = false) {
  if (state.isPaused && !isWanted) return;
  const own = asked += 1;
  const { last, decisions } = await get('/v1/decisions', { ...state.filters, since: state.last, limit: MOST });
  if (own !== asked) return;
  if (last < state.last) {
    begin(); // a gateway that was started anew counts from 1 again
  } else {
    Object.assign(state, { entries: [...decisions.reverse(), ...state.entries].slice(0, MOST), last });
  }
  render();
}

/// Offers these in the filters, beside those that are there.
export function offer(name, values) {
  const select = byId('filters').elements[name];
  const known = new Set([...select.options].map(({ value }) => value));
  select.append(...values.filter((value) => !known.has(value)).map((value) => element('option', {}, value)));
}

/// Puts new rows on top. Rows that are shown stay what they are: what has the focus keeps it.
function render() {
  offer('reason', [...new Set(state.entries.map(({ reason }) => reason))].sort());
  const place = byId('decisions');
  if (state.entries.length === 0) {
    const isFiltered = Object.values(state.filters).some((value) => value !== '');
    place.replaceChildren(element('p', { class: 'empty' }, isFiltered ? 'None of the last 1,000 decisions is like this.' : 'No requests yet.'));
    return;
  }
  if (!place.querySelector('tbody')) place.replaceChildren(table('The last decisions, newest first', COLUMNS, []));
  const body = place.querySelector('tbody');
  const shown = Number(body.firstElementChild?.dataset.sequence ?? 0);
  body.prepend(...state.entries.filter(({ sequence }) => sequence > shown).map(row));
  while (body.rows.length > state.entries.length) body.lastElementChild.remove();
}

function row(entry) {
  const { sequence, time, decision, reason, route, method, path, mcp_method, mcp_name, client_id, subject, status, total_us } = entry;
  const request = mcp_method === undefined ? `${method} ${path}` : [mcp_method, mcp_name].filter(Boolean).join(' ');
  const cell = (content, properties) => element('td', properties, content ?? '–');
  return element('tr', { 'data-sequence': sequence },
    cell(element('button', { type: 'button', class: 'plain', title: 'Details' }, timeOfDay(time))),
    cell(badge(decision)), cell(reason), cell(route, { class: 'wide' }), cell(request, { class: 'long', title: `${method} ${path}` }),
    cell(client_id, { class: 'wide long', title: client_id }), cell(subject, { class: 'wide long', title: subject }),
    cell(status === 0 ? undefined : `${status}`, { class: 'number' }), cell(span(total_us), { class: 'number' }));
}
