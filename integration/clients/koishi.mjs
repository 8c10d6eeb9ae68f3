// koishi with its OneBot adapter: a client over HTTP or forward WebSocket, or
// the server of reverse WebSocket and of events by HTTP. Of a task it also
// takes protocol (http, ws or ws-reverse) and, to be a server, port and secret:
// then it first prints {port}, when it listens.
import { createRequire } from 'node:module'
import { perform, refused, task, tell } from './task.mjs'

const require = createRequire(import.meta.url) // koishi does not load by import
const { Context, Universal, camelize } = require('koishi')

const { protocol, url, token, secret, port } = task
// 6.9.4 overlooks the body of an event post
const adapter = protocol === 'http' ? 'koishi-plugin-adapter-onebot-6.5' : 'koishi-plugin-adapter-onebot'
const app = new Context()
app.plugin(require('@koishijs/plugin-http').HTTP)
app.plugin(require('@koishijs/plugin-server').Server, { host: '127.0.0.1', port })
app.plugin(require(adapter).OneBotBot, {
  selfId: '10001', protocol, endpoint: url, path: '/app', token, secret,
  retryTimes: 0, retryInterval: 1000, retryLazy: 1000, responseTimeout: 60000
})

let bot
await perform({
  // koishi makes its own of every event
  on: (name, handler) => app.on(name, ({ userId, content }) => handler({ user_id: +userId, raw_message: content })),
  connect: async () => {
    const settled = new Promise((resolve) => app.on('login-updated', (session) => {
      bot = session.bot
      if (bot.status === Universal.Status.ONLINE) resolve()
      if (bot.status === Universal.Status.OFFLINE) setImmediate(() => task.offline ? resolve() : refused(bot.error)) // which is set then
    }))
    await app.start()
    if (port) {
      const { _http: server } = app.server // which has its port before it listens
      if (!server.listening) await new Promise((resolve) => server.once('listening', resolve))
      await tell({ port: app.server.port })
    }
    await settled
  },
  call: (action, params) => bot.internal[camelize(action)]?.(...Object.values(params)) ?? bot.internal._get(action, params),
  retcode: (error) => error.code ?? error.response?.data?.retcode
})
process.exit()
