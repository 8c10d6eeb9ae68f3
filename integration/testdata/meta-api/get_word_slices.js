const res = await fetch('http://127.0.0.1:5700/.get_word_slices', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    content: '<text>'
  })
})

const body = await res.json()
console.log(body.retcode) // 1404
