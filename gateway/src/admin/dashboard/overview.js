// How it goes at the moment: numbers and charts, from what the gateway counts each second.

import { get } from './api.js';
import { Chart } from './chart.js';
import { byId, element, show } from './dom.js';
import { count, rate, share, span, timeOfSecond } from './format.js';

const SECONDS = 300;
let charts;
let points = [];

export function setUp() {
  const [requests, times] = byId('charts').querySelectorAll('figure');
  const perSecond = (decision) => (point) => point[decision] / point.seconds;
  const series = (name, kind, of, least) => ({ name, kind, of, least });
  charts = [
    new Chart(requests, {
      seconds: SECONDS, isStacked: true, format: rate,
      series: [series('allow', 'allow', perSecond('allow'), 4), series('deny', 'deny', perSecond('deny')), series('fail', 'fail', perSecond('fail'))],
      describe: (all) => `Requests per second in the last five minutes: ${sum(all, 'allow')} allowed, ${sum(all, 'deny')} denied and ${sum(all, 'fail')} failed in all.`,
    }),
    new Chart(times, {
      seconds: SECONDS, isStacked: false, format: (micros) => (micros === null ? '–' : span(Math.round(micros))),
      series: [series('p50', 'p50', ({ p50_us }) => p50_us, 1_000), series('p99', 'p99', ({ p99_us }) => p99_us)],
      describe: (all) => {
        const last = all.findLast(({ p50_us }) => p50_us !== null);
        return last ? `Time to the answer: half within ${span(last.p50_us)}, 99 of 100 within ${span(last.p99_us)} at ${timeOfSecond(last.until)}.` : 'No requests yet.';
      },
    }),
  ];
}

export async function load() {
  const since = points.at(-1)?.until;
  const live = await get('/v1/live', { since });
  points = [...points, ...live.seconds].slice(-SECONDS);
  for (const chart of charts) chart.update(points, live.now);
  tiles(live);
}

function tiles({ last_minute: minute, requests_under_way, hit_ratio, connections }) {
  const all = minute ? minute.allow + minute.deny + minute.fail : 0;
  const part = (decision) => (all ? share(minute[decision] / all) : '–');
  show(byId('tiles'),
    tile('Requests per second', minute ? rate(all / minute.seconds) : '–', 'in the last minute'),
    tile('Half answered within', span(minute?.p50_us), `99 of 100 within ${span(minute?.p99_us)}`),
    tile('Denied', part('deny'), all ? `${count(minute.deny)} in the last minute` : 'no requests in the last minute', minute?.deny > 0 ? 'deny' : ''),
    tile('Failed', part('fail'), all ? `${count(minute.fail)} in the last minute` : 'no requests in the last minute', minute?.fail > 0 ? 'fail' : ''),
    tile('Tokens known at once', share(hit_ratio), 'of all since the start'),
    tile('Under way', count(requests_under_way), connections === undefined ? 'requests' : `requests, on ${count(connections)} connections`));
}

const tile = (name, value, more, kind = '') => element('div', { class: `card tile ${kind}` },
  element('h2', {}, name), element('p', { class: 'value' }, value), element('p', { class: 'quiet' }, more));

const sum = (all, decision) => count(all.reduce((total, point) => total + point[decision], 0));
