// SPDX-License-Identifier: GPL-3.0-or-later
// Sends one message with nodemailer. Standard input: {"transport": {...}, "message": {...}} as nodemailer has them.
"use strict";

const fs = require("fs");
const { format } = require("util");
const nodemailer = require("nodemailer");

const { transport, message } = JSON.parse(fs.readFileSync(0, "utf8"));
transport.tls = { ca: fs.readFileSync(transport.authority) };
if (transport.debug) {
  const say = (entry, text, ...words) => console.log(format(text, ...words));
  transport.logger = { level() {}, trace: say, debug: say, info: say, warn: say, error: say, fatal: say };
}

nodemailer
  .createTransport(transport)
  .sendMail(message)
  .then((done) => console.log(done.response))
  .catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
