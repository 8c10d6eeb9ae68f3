curl -X POST 'http://127.0.0.1:5700/download_file' \
  -H 'Content-Type: application/json' \
  -d '{"url":"https://example.com/a.png","headers":["User-Agent: bot"]}'
