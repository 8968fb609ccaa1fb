// SPDX-License-Identifier: GPL-3.0-or-later
// In Thunderbird: what its window for new accounts does with an address and a password, and then a message by it.
const [address, password, recipient, subject, done] = arguments;

function module(name, path) {
  return ChromeUtils.importESModule(`resource:///modules/${path}${name}.sys.mjs`)[name];
}

async function take() {
  const FindConfig = module("FindConfig", "accountcreation/");
  const AccountConfig = module("AccountConfig", "accountcreation/");
  const CreateInBackend = module("CreateInBackend", "accountcreation/");

  const search = FindConfig.parallelAutoDiscovery(address.split("@")[1], address, new AbortController().signal);
  let step = await search.next();
  while (!step.done) {
    step = await search.next({ acceptRedirect: false });
  }
  const config = step.value;
  if (!config) {
    return { found: false };
  }
  AccountConfig.replaceVariables(config, "Alice", address, password);
  config.rememberPassword = true;
  const account = await CreateInBackend.createAccountInBackend(config);
  const identity = account.defaultIdentity;
  // There is no server for incoming mail here that could keep a copy.
  identity.doFcc = false;
  const { hostname, port, username } = config.outgoing;
  const incoming = [config.incoming.type, config.incoming.hostname, config.incoming.port, config.incoming.username];
  return { found: true, outgoing: [hostname, port, username], incoming, status: await submit(account, identity) };
}

function submit(account, identity) {
  const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  fields.from = address;
  fields.to = recipient;
  fields.subject = subject;
  return new Promise((resolve, reject) => {
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener"]),
      onStartSending() {},
      onSendProgress() {},
      onStatus() {},
      onGetDraftFolderURI() {},
      onSendNotPerformed: () => reject(new Error("it was not sent")),
      onTransportSecurityError: (id, status) => reject(new Error(`TLS: ${status}`)),
      onStopSending: (id, status) => resolve(status),
    };
    const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
    const now = Ci.nsIMsgSend.nsMsgDeliverNow;
    const text = ["text/plain", "A line.\n"];
    const kind = Ci.nsIMsgCompType.New;
    Promise.resolve(
      send.createAndSendMessage(
        null, identity, account.key, fields, false, false, now, null, ...text, null, null, listener, "", "", kind
      )
    ).catch(reject);
  });
}

take().then(done, error => done({ error: String(error), stack: error?.stack }));
