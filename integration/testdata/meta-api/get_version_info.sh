curl -X POST 'http://127.0.0.1:5700/get_version_info' \
  -H 'Content-Type: application/json' \
  -d '{}'
