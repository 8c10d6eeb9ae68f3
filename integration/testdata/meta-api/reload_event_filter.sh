curl -X POST 'http://127.0.0.1:5700/reload_event_filter' \
  -H 'Content-Type: application/json' \
  -d '{}'
