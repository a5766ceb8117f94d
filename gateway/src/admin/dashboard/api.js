// Requests to the listener that this page came from. Where it asks for a token, the token is kept in this tab alone.

const KEY = 'phantomgate.token';

/// The listener wants a token, or another one.
export class Unauthorized extends Error {}

/// The listener says what is wrong.
export class Refused extends Error {}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;
export const keepToken = (token) => sessionStorage.setItem(KEY, token);
export const forgetToken = () => sessionStorage.removeItem(KEY);

/// What is answered to a GET request; `parameters` without a value are left out. Statuses beside 200 are errors, but those
/// that are `expected`.
export async function get(path, parameters = {}, expected = []) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== '' && value !== undefined));
  return ask(query.size ? `${path}?${query}` : path, {}, expected);
}

/// What is answered to a POST request with this body.
export const post = (path, body, expected = []) => ask(path, {
  method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' },
}, expected);

async function ask(path, options, expected) {
  const headers = { ...options.headers };
  if (hasToken()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  const answer = await fetch(path, { ...options, headers, cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(12_000) });
  if (answer.status === 401) throw new Unauthorized();
  const content = await answer.json();
  if (!answer.ok && !expected.includes(answer.status)) throw new Refused(content.detail ?? `status ${answer.status}`);
  return content;
}
