// cq-websocket: a client of forward WebSocket, at the endpoints for calls and
// for events.
import cq from 'cq-websocket'
import { perform, refused, task } from './task.mjs'

const bot = new cq.CQWebSocket({ baseUrl: task.url, accessToken: task.token, qq: 10001, reconnection: false })
bot.on('socket.error', (endpoint, error) => refused(error))
await perform({
  // message events have an object of the framework's before them
  on: (name, handler) => bot.on(name, (first, second) => handler(second ?? first)),
  connect: () => new Promise((resolve) => {
    bot.on('ready', resolve)
    bot.connect()
  }),
  call: async (action, params) => {
    const envelope = await bot(action, params)
    if (envelope.retcode !== 0) throw envelope
    return envelope.data
  },
  retcode: (envelope) => envelope.retcode
})
bot.disconnect()
