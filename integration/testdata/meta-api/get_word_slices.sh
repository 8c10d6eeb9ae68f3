curl -X POST 'http://127.0.0.1:5700/.get_word_slices' \
  -H 'Content-Type: application/json' \
  -d '{"content":"<text>"}'
