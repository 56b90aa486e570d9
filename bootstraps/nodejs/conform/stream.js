// The function that `lambent conform` tells what to do (docs/conform.md), as one that streams its responses.
'use strict';

const VERBS = ['echo', 'stream', 'exit'];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

exports.handler = awslambda.streamifyResponse(async (event, out) => {
  switch (event.do) {
    case 'verbs': out.write(VERBS); break;
    case 'echo': out.write(JSON.stringify(event.value)); break;
    case 'exit': process.exit(event.code); break;
    case 'stream':
      for (const [index, piece] of event.pieces.entries()) {
        if (index > 0 && event.pause_ms) {
          await pause(event.pause_ms);
        }
        out.write(piece);
      }
      if (event.fail) {
        throw new Error(event.fail);
      }
  }
  out.end();
});
