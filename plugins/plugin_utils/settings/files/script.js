// SPDX-License-Identifier: GPL-3.0-or-later
// The page works without this. With it, values can be copied, and the relay asked whether it answers from here.
// Its words stand in the page, as attributes of the section that it works in: data-say-NAME.
"use strict";

(() => {
  const PATIENCE = 10000; // milliseconds that a port is waited for, as in `relay-agent probe`
  const section = document.getElementById("check");
  const server = section.getAttribute("data-server");
  const say = (name, values = {}) =>
    section.getAttribute(`data-say-${name}`).replace(/\{(\w+)\}/g, (_, key) => values[key]);

  // Copying.

  const announcer = document.getElementById("announcer");

  const copyButton = (value) => {
    const what = value.getAttribute("data-copy");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    const show = (state) => {
      button.textContent = say(state);
      button.setAttribute("aria-label", say(`${state}-label`, { what }));
      button.classList.toggle("done", state === "copied");
    };
    show("copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(value.textContent.trim());
        show("copied");
        announcer.textContent = say("copied-label", { what });
      } catch {
        announcer.textContent = button.textContent = say("copy-failed");
      }
      setTimeout(() => show("copy"), 2500);
    });
    value.after(button);
  };
  document.querySelectorAll("[data-copy]").forEach(copyButton);

  // Asking the relay.

  const button = document.getElementById("check-button");
  const answer = document.getElementById("check-answer");
  const own = Number(location.port || (location.protocol === "https:" ? 443 : 80));

  const knock = async (port) => {
    const url = port === own ? "reach.json" : `https://${server}:${port}/reach.json`;
    const patience = new AbortController();
    const alarm = setTimeout(() => patience.abort(), PATIENCE);
    const begun = performance.now();
    try {
      const response = await fetch(url, { cache: "no-store", credentials: "omit", signal: patience.signal });
      const time = Math.max(1, Math.round(performance.now() - begun));
      // A network that answers in the relay's place has a page of its own, not this file.
      const sound = response.ok && (await response.json()).service === server;
      return { port, time, state: sound ? "answered" : "odd" };
    } catch (error) {
      const state = patience.signal.aborted ? "silent" : error instanceof SyntaxError ? "odd" : "failed";
      return { port, state, seconds: PATIENCE / 1000 };
    } finally {
      clearTimeout(alarm);
    }
  };

  const paragraph = (text, kind) => {
    const made = document.createElement("p");
    made.className = kind;
    made.textContent = text;
    return made;
  };

  const verdict = (results) => {
    const answered = results.filter((result) => result.state === "answered");
    if (answered.length === 0) {
      return [paragraph(say("no"), "verdict bad"), paragraph(say(navigator.onLine ? "no-hint" : "offline"), "soft")];
    }
    const mail = new Map(JSON.parse(section.getAttribute("data-mail")));
    const port = [...mail.keys()].find((each) => answered.some((result) => result.port === each));
    if (port !== undefined) {
      return [paragraph(say("yes-mail", { port, security: mail.get(port) }), "verdict good")];
    }
    return [paragraph(say(answered.length < results.length ? "partly" : "yes"), "verdict good")];
  };

  const check = async () => {
    if (answer.getAttribute("aria-busy") === "true") {
      return;
    }
    answer.setAttribute("aria-busy", "true");
    button.setAttribute("aria-disabled", "true");
    answer.replaceChildren(paragraph(say("running"), "running"));
    const ports = [...new Set([own, ...JSON.parse(section.getAttribute("data-ports"))])];
    const results = await Promise.all(ports.map(knock));
    const list = document.createElement("ul");
    list.className = "knocks";
    for (const result of results) {
      const item = document.createElement("li");
      item.className = result.state === "answered" ? "good" : "bad";
      item.textContent = say(result.state, result);
      list.append(item);
    }
    answer.replaceChildren(...verdict(results), list);
    answer.setAttribute("aria-busy", "false");
    button.removeAttribute("aria-disabled");
    button.textContent = say("again");
  };

  document.querySelectorAll("[data-with-script]").forEach((each) => { each.hidden = false; });
  document.querySelectorAll("[data-without-script]").forEach((each) => { each.hidden = true; });
  button.addEventListener("click", check);
})();
