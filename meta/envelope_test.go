package meta

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestReplyIsWrittenAsOneJSONObject(t *testing.T) {
	for name, tt := range map[string]struct {
		reply *Reply
		want  string
	}{
		"success without data": {
			&Reply{Status: "ok"},
			`{"status":"ok","retcode":0,"data":null}`,
		},
		"success with data and echo": {
			&Reply{Status: "ok", Data: json.RawMessage(`{"a":1}`), Echo: json.RawMessage(`"x"`)},
			`{"status":"ok","retcode":0,"data":{"a":1},"echo":"x"}`,
		},
		"echo keeps its every byte": {
			&Reply{Status: "ok", Echo: json.RawMessage("{ \"b\" : 1.0e2,\t\"<&>\":\"\\u00e9\" }")},
			"{\"status\":\"ok\",\"retcode\":0,\"data\":null,\"echo\":{ \"b\" : 1.0e2,\t\"<&>\":\"\\u00e9\" }}",
		},
		"an echo of null is an echo": {
			&Reply{Status: "async", Retcode: 1, Echo: json.RawMessage(`null`)},
			`{"status":"async","retcode":1,"data":null,"echo":null}`,
		},
		"failure says why in two languages": {
			Failure(BadRequest(`a "quoted" <word>`, "中文"), nil),
			`{"status":"failed","retcode":1400,"data":null,"message":"a \"quoted\" <word>","wording":"中文"}`,
		},
		"a fault of ours keeps its text to itself": {
			Failure(errors.New("secret"), nil),
			`{"status":"failed","retcode":1400,"data":null,"message":"internal error; the server's log has the details","wording":"内部错误，详情见服务器日志"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(tt.reply.JSON())
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not JSON")
			}
		})
	}
}
