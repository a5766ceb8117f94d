// What runs: upstreams and their endpoints, token caches, routes.

import { get, post } from './api.js';
import { offer } from './decisions.js';
import { attempt, confirmed } from './dialogs.js';
import { badge, byId, element, show, table } from './dom.js';
import { count, share } from './format.js';

export function setUp() {
  byId('upstreams').addEventListener('click', async ({ target }) => {
    const button = target.closest('button[data-endpoint]');
    if (!button) return;
    const { upstream, endpoint } = button.dataset;
    const drains = button.dataset.drains === 'true';
    const question = `${endpoint} of ${upstream} gets no new requests. Those under way are finished.`;
    if (drains && !await confirmed('Drain?', question, 'Drain')) return;
    await attempt(async () => {
      await post(`/v1/upstreams/${encodeURIComponent(upstream)}/drain`, { endpoint, draining: drains });
      await loadUpstreams();
      return drains ? `${endpoint} is draining.` : `${endpoint} gets requests again.`;
    });
  });
}

export async function loadUpstreams() {
  const { upstreams } = await get('/v1/upstreams');
  show(byId('upstreams'), ...upstreams.map((upstream) => element('div', { class: 'upstream' },
    element('h3', {}, upstream.name, element('span', { class: 'quiet' }, ` ${words(upstream.selection)}, ${count(upstream.requests)} under way`)),
    upstream.panic ? element('p', { class: 'error' }, 'No endpoint is well: all of them get requests.') : null,
    table(`Endpoints of ${upstream.name}`, ['Endpoint', 'State', '#Weight', '#Under way', ''], upstream.endpoints.map((endpoint) => (
      endpointRow(upstream, endpoint)))),
  )));
}

function endpointRow(upstream, { url, state, weight, requests }) {
  const drains = state !== 'draining';
  return element('tr', {},
    element('td', { class: 'long', title: url }, url), element('td', {}, badge(state)),
    element('td', { class: 'number' }, count(weight)), element('td', { class: 'number' }, count(requests)),
    element('td', { class: 'number' }, element('button', {
      type: 'button', 'data-upstream': upstream.name, 'data-endpoint': url, 'data-drains': `${drains}`,
      'aria-label': `${drains ? 'Drain' : 'Resume'} ${url}`,
    }, drains ? 'Drain…' : 'Resume')));
}

/// Gives what was looked up in all caches, so far.
export async function loadCaches() {
  const { authorization_servers: caches } = await get('/v1/cache');
  show(byId('caches'), ...caches.map(({ name, entries, capacity, inactive_entries, inactive_capacity, hit_ratio, lookups }) => (
    element('div', { class: 'cache' },
      element('h3', {}, name, element('span', { class: 'quiet' }, ` ${share(hit_ratio)} answered at once`)),
      fill('active', entries, capacity), fill('inactive', inactive_entries, inactive_capacity),
      element('p', { class: 'quiet' }, Object.entries(lookups).filter(([, times]) => times > 0)
        .map(([outcome, times]) => `${count(times)} ${outcome}`).join(' · ')))
  )), caches.length ? '' : element('p', { class: 'empty' }, 'No route asks an authorization server.'));
}

const fill = (what, entries, capacity) => element('p', { class: 'fill' },
  element('span', {}, `${count(entries)} ${what}`), element('meter', { value: entries, max: capacity, 'aria-label': `${what} tokens of ${capacity}` }),
  element('span', { class: 'quiet' }, `of ${count(capacity)}`));

export async function loadRoutes() {
  const { routes } = await get('/v1/routes');
  offer('route', routes.map(({ name }) => name));
  show(byId('routes'), table('All routes', ['Route', 'Match', 'Upstream', 'Asks for', 'Upstream gets'], routes.map(routeRow)));
}

function routeRow({ name, host, path, exact, methods, upstream, protection, mcp_revisions: revisions }) {
  const matched = `${(methods ?? []).join(', ')} ${host ?? '*'}${path}${exact ? ' (exactly)' : ''}`.trim();
  return element('tr', {},
    element('td', {}, name, revisions ? element('span', { class: 'tag' }, 'MCP') : null),
    element('td', { class: 'long', title: matched }, matched), element('td', {}, upstream),
    element('td', {}, protection ? protection.scopes.join(' ') || 'a token' : badge('public')),
    element('td', {}, protection ? words(protection.credential) : 'nothing'));
}

const words = (name) => name.replaceAll('_', ' ');
