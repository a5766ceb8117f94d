// Questions before something is done, and the details of a decision.

import { Refused, post } from './api.js';
import { badge, element, toast } from './dom.js';
import { span } from './format.js';

const KINDS = {
  token: 'Token', token_digest: 'Token, by its digest', subject: 'Subject', client_id: 'Client', session_id: 'Session',
};

/// Shows a dialog until it is closed; gives the name of the button that closed it.
function open(title, content, buttons) {
  const dialog = element('dialog', { 'aria-labelledby': 'dialog-title' },
    element('form', { method: 'dialog' },
      element('h2', { id: 'dialog-title' }, title), content,
      element('div', { class: 'buttons' }, buttons.map(([name, label, kind]) => (
        element('button', { value: name, class: kind, formnovalidate: name === 'cancel' }, label))))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => { dialog.remove(); resolve(dialog.returnValue); }, { once: true });
  });
}

/// Whether a person wants this.
export async function confirmed(title, text, action) {
  const content = element('p', {}, text);
  return await open(title, content, [['cancel', 'Cancel'], ['do', action, 'danger']]) === 'do';
}

/// Does something and tells what came of it.
export async function attempt(action) {
  try {
    toast(await action());
  } catch (error) {
    toast(error instanceof Refused ? `Refused: ${error.message}` : `It did not work: ${error.message}`);
  }
}

/// Asks what is to be revoked, and then whether it really is.
export async function askRevocation() {
  const kind = element('select', { name: 'kind' },
    Object.entries(KINDS).map(([value, label]) => element('option', { value }, label)));
  const value = element('input', { name: 'value', required: true, autocomplete: 'off', spellcheck: 'false', type: 'password' });
  kind.addEventListener('change', () => { value.type = kind.value === 'token' ? 'password' : 'text'; });
  const content = element('div', {},
    element('p', { class: 'quiet' }, 'What the gateway knows of these tokens is forgotten at once, and their event streams end. ',
      'Revoke at the authorization server first: it is asked at their next use.'),
    element('label', {}, 'What ', kind), element('label', {}, 'Its value ', value));
  if (await open('Revoke', content, [['cancel', 'Cancel'], ['next', 'Next…', 'primary']]) === 'next') {
    await revoke(kind.value, value.value);
  }
}

/// Revokes, once a person has confirmed it.
export async function revoke(kind, value) {
  const what = kind === 'token' ? 'this token' : kind === 'token_digest' ? `the token ${value}`
    : `all tokens of the ${KINDS[kind].toLowerCase()} “${value}”`;
  if (!await confirmed('Revoke?', `The gateway forgets ${what}, and streams end that were opened with it.`, 'Revoke')) return;
  await attempt(async () => {
    const { forgotten } = await post('/v1/revocations', { [kind]: value });
    return `Revoked. ${forgotten === 1 ? '1 token was' : `${forgotten} tokens were`} known and ${forgotten === 1 ? 'is' : 'are'} forgotten.`;
  });
}

/// Has the configuration read again, and shows what is wrong with it.
export async function reload() {
  if (!await confirmed('Reload the configuration?', 'It is read again and put to work. One with errors changes nothing.', 'Reload')) return;
  await attempt(async () => {
    const { generation, changed, errors, detail } = await post('/v1/reload', {}, [422]);
    if (detail === undefined) return changed ? `Configuration ${generation} is at work.` : 'Nothing has changed.';
    const told = errors.map(({ line, column, key, reason }) => (
      element('li', {}, [line, column, key, reason].filter((part) => part !== null && part !== '').join(': '))));
    await open('The configuration is refused', element('div', {}, element('p', {}, detail), element('ul', {}, told)), [['cancel', 'Close']]);
    return 'The configuration stays as it was.';
  });
}

const LABELS = {
  time: 'Arrived', request_id: 'Request', trace_id: 'Trace', cause: 'Cause', status: 'Status', route: 'Route', method: 'Method',
  path: 'Path', protocol: 'Protocol', peer: 'From', mcp_method: 'MCP method', mcp_name: 'MCP name', client_id: 'Client',
  subject: 'Subject', token: 'Token digest', scopes_required: 'Scopes required', scopes_granted: 'Scopes granted',
  upstream: 'Upstream', endpoint: 'Endpoint', retries: 'Retries', bytes_received: 'Bytes received', bytes_sent: 'Bytes sent',
  introspection_us: 'Introspection', message_us: 'Message', credential_us: 'Credential', decision_us: 'Our own work',
  upstream_us: 'Upstream’s answer', total_us: 'All of it',
};

/// Shows all that is recorded of a request, and what can be revoked because of it.
export async function showDecision(record) {
  const told = Object.entries(LABELS).filter(([name]) => record[name] !== undefined);
  const content = element('div', {},
    element('p', {}, badge(record.decision), ` ${record.reason}`),
    element('dl', {}, told.flatMap(([name, label]) => [
      element('dt', {}, label),
      element('dd', {}, name.endsWith('_us') ? span(record[name]) : `${record[name]}`),
    ])));
  const revocable = [['token_digest', 'token', 'token'], ['client_id', 'client_id', 'client'], ['subject', 'subject', 'subject']];
  const buttons = revocable.filter(([, member]) => record[member] !== undefined);
  const chosen = await open('Decision', content, [
    ...buttons.map(([kind, , label]) => [kind, `Revoke the ${label}…`, 'danger']), ['cancel', 'Close'],
  ]);
  const button = buttons.find(([kind]) => kind === chosen);
  if (button) await revoke(button[0], record[button[1]]);
}
