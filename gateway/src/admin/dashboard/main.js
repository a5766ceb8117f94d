// The page: asks again and again while somebody looks, and lets nobody wait for a token that is not needed.

import { Unauthorized, forgetToken, get, hasToken, keepToken } from './api.js';
import * as decisions from './decisions.js';
import { askRevocation, reload } from './dialogs.js';
import { byId } from './dom.js';
import { age } from './format.js';
import * as overview from './overview.js';
import * as running from './running.js';

/// What is asked for, and every how many seconds.
const PARTS = [
  [overview.load, 1], [decisions.load, 1], [loadUpstreams, 2], [running.loadCaches, 2], [running.loadRoutes, 10],
  [loadStatus, 5], [loadReadiness, 5],
];

/// So many rounds in which something failed, and it is said.
const PATIENCE = 3;

/// What this listener can be asked for: the rest is not shown.
let paths;
let round = 0;
let failures = 0;

overview.setUp();
decisions.setUp();
running.setUp();
byId('revoke').addEventListener('click', askRevocation);
byId('reload').addEventListener('click', reload);
byId('sign-out').addEventListener('click', () => { forgetToken(); location.reload(); });
byId('sign-in').addEventListener('submit', signIn);
document.addEventListener('visibilitychange', () => { if (!document.hidden) wake(); });
let wake = () => {};
run();

async function run() {
  for (;;) {
    const isSignedIn = document.hidden || await ask();
    await new Promise((resolve) => {
      wake = resolve;
      if (isSignedIn) setTimeout(resolve, 1_000);
    });
  }
}

/// Asks for all whose turn it is. False when a token is needed first.
async function ask() {
  await learn();
  const due = PARTS.filter(([, every]) => round % every === 0);
  const outcomes = await Promise.allSettled(due.map(([load]) => load()));
  const errors = outcomes.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  const isSignedOut = errors.some((error) => error instanceof Unauthorized);
  byId('sign-in').hidden = !isSignedOut;
  byId('overview').hidden = isSignedOut;
  byId('revoke').hidden = isSignedOut;
  byId('sign-out').hidden = !hasToken() || isSignedOut;
  // Until all has been seen once, everything is asked for.
  round = isSignedOut ? 0 : round + 1;
  failures = errors.length && !isSignedOut ? failures + 1 : 0;
  if (failures >= PATIENCE) readiness('fail', 'no answer');
  tell(failures >= PATIENCE ? `The gateway does not answer (${errors[0].message}). What is shown is from before.` : '');
  return !isSignedOut;
}

/// Learns what this listener can be asked for, if that is not known yet.
async function learn() {
  if (paths) return;
  // What goes wrong here goes wrong with the rest too, which tells it.
  ({ paths } = await get('/v1/openapi.json').catch(() => ({})));
  byId('upstreams').closest('section').hidden = !paths?.['/v1/upstreams'];
  byId('reload').hidden = !paths?.['/v1/reload'];
}

async function loadUpstreams() {
  if (paths?.['/v1/upstreams']) await running.loadUpstreams();
}

async function loadStatus() {
  const { version, started_at, now, generation } = await get('/v1/status');
  const configuration = generation === undefined ? '' : ` · configuration ${generation}`;
  byId('status').textContent = `version ${version} · up ${age(now - started_at)}${configuration}`;
}

async function loadReadiness() {
  const { ready, not_ready } = await get('/readyz', {}, [503]);
  const missing = not_ready.map(({ what, name, reason }) => `${what}${name ? ` ${name}` : ''}: ${reason}`);
  readiness(ready ? 'allow' : 'deny', ready ? 'ready' : 'not ready', missing.join('\n'));
}

function readiness(kind, text, title = '') {
  Object.assign(byId('readiness'), { className: `pill ${kind}`, textContent: text, title });
}

function tell(text) {
  const notice = byId('notice');
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = text === '';
}

async function signIn(event) {
  event.preventDefault();
  const [form, error] = [event.target, byId('sign-in').querySelector('.error')];
  keepToken(form.elements.token.value);
  try {
    await get('/v1/status');
    form.reset();
    error.textContent = '';
    wake();
  } catch (reason) {
    forgetToken();
    error.textContent = reason instanceof Unauthorized ? 'This is not the token.' : `It did not work: ${reason.message}`;
  }
}
