const res = await fetch('http://127.0.0.1:5700/download_file', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    url: 'https://example.com/a.png',
    headers: ['User-Agent: bot']
  })
})

const body = await res.json()
console.log(body.data.file)
