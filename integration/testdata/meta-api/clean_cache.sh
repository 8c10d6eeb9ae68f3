curl -X POST 'http://127.0.0.1:5700/clean_cache' \
  -H 'Content-Type: application/json' \
  -d '{}'
