const res = await fetch('http://127.0.0.1:5700/reload_event_filter', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({})
})

const body = await res.json()
console.log(body.status)
