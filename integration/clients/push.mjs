// push-all-in-one: it only sends messages, over HTTP.
import { OneBot } from 'push-all-in-one'
import { perform, refused, task } from './task.mjs'

const bot = new OneBot({ ONE_BOT_BASE_URL: task.url, ONE_BOT_ACCESS_TOKEN: task.token })
await perform({
  on: () => refused('it takes no events'),
  connect: () => {},
  call: async (action, { title, text, ...option }) => {
    const { data: envelope } = await bot.send(title, text, option)
    if (envelope.retcode !== 0) throw envelope
    return envelope.data
  },
  retcode: (envelope) => envelope.retcode
})
