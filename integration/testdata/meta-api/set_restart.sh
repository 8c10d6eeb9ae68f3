curl -X POST 'http://127.0.0.1:5700/set_restart' \
  -H 'Content-Type: application/json' \
  -d '{}'
