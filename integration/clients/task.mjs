// What every client here is told to do, and how it tells what came of it. The
// only argument is a task in JSON:
//
//   {url, token, calls: [[action, params], ...], events: [name, ...]}
//
// with params in the order in which the framework's own methods take them.
// The client connects, makes the calls one after another, waits until each of
// the events has come, and prints one line of JSON:
//
//   {outcomes: [{data} or {failed: retcode}, ...], events: {name: event, ...}}
//
// or {refused: why} if it is not let in. The calls are made and the events are
// read by the framework; nothing here knows the protocol.

export const task = JSON.parse(process.argv[2])

// tell prints a line and returns when it is out.
export const tell = (what) => new Promise((done) => process.stdout.write(JSON.stringify(what) + '\n', done))

// refused ends the process of a client that was not let in.
export async function refused (why) {
  await tell({ refused: String(why) })
  process.exit()
}

// perform does the task. on(name, handler) registers for an event, connect()
// returns when calls can be made, and call(action, params) resolves with the
// data or rejects with an error that retcode() reads.
export async function perform ({ on, connect, call, retcode }) {
  const events = {}
  const seen = task.events.map((name) => new Promise((resolve) => on(name, (event) => {
    events[name] ??= event
    resolve()
  })))
  await connect()
  const outcomes = []
  for (const [action, params] of task.calls) {
    outcomes.push(await call(action, params).then((data) => ({ data }), (error) => ({ failed: retcode(error) })))
  }
  await Promise.all(seen)
  await tell({ outcomes, events })
}
