// node-napcat-ts: a client of forward WebSocket, at the universal endpoint.
import { NCWebsocket } from 'node-napcat-ts'
import { perform, refused, task } from './task.mjs'

const bot = new NCWebsocket({ baseUrl: task.url, accessToken: task.token, reconnection: { enable: false } })
bot.on('socket.error', ({ errors }) => refused(errors))
await perform({
  on: (name, handler) => bot.on(name, handler),
  connect: () => bot.connect(),
  call: (action, params) => typeof bot[action] === 'function' ? bot[action](params) : bot.send(action, params),
  retcode: (envelope) => envelope.retcode
})
await bot.disconnect()
