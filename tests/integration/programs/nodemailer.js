// SPDX-License-Identifier: GPL-3.0-or-later
// Sends one message with nodemailer. Standard input: {"transport": {...}, "message": {...}} as nodemailer has them.
"use strict";

const fs = require("fs");
const nodemailer = require("nodemailer");

const { transport, message } = JSON.parse(fs.readFileSync(0, "utf8"));
transport.tls = { ca: fs.readFileSync(transport.authority) };
transport.logger = {
  level() {},
  ...Object.fromEntries(
    ["trace", "debug", "info", "warn", "error", "fatal"].map((level) => [
      level,
      (entry, text, ...words) => console.log(require("util").format(text, ...words)),
    ]),
  ),
};
transport.debug = true;

nodemailer
  .createTransport(transport)
  .sendMail(message)
  .then((done) => console.log(done.response))
  .catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
