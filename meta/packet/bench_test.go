package packet

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkScanner has the axes kind (what fills the text), size (of the text)
// and piece (how much of it comes at once).
func BenchmarkScanner(b *testing.B) {
	event := `{"time":1700000000,"self_id":10001000,"post_type":"message","message_type":"group","sub_type":"normal",` +
		`"message_id":-2147483648,"group_id":123456789,"user_id":987654321,"anonymous":null,"message":[%s],` +
		`"raw_message":"hello [CQ:face,id=178] 你好","font":0,"sender":{"user_id":987654321,"nickname":"nick","card":"",` +
		`"sex":"unknown","age":0,"area":"","level":"1","role":"member","title":""}}`
	segment := `{"type":"at","data":{"qq":"10001000","name":"someone"}},{"type":"text","data":{"text":" hello, 你好\n"}},`
	call := `{"action":"send_group_msg","params":{"group_id":123456789,"message":[{"type":"image","data":{"file":"base64://%s"}}]},"echo":"7f3c"}`
	for _, kind := range []struct {
		name string
		text func(size int) string
	}{
		{"event", func(size int) string {
			return fmt.Sprintf(event, strings.Repeat(segment, max(0, size-550)/len(segment))+`{"type":"face","data":{"id":"178"}}`)
		}},
		{"base64", func(size int) string { return fmt.Sprintf(call, strings.Repeat("iVBORw0KGgoAAAANSUhEUgAA", size/24)) }},
		{"chinese", func(size int) string { return fmt.Sprintf(call, strings.Repeat(`中文\n`, size/8)) }},
		{"indented", func(size int) string {
			return fmt.Sprintf(event, strings.Repeat("\n        {\n          \"type\": \"face\"\n        },", size/44)+"0")
		}},
		{"numbers", func(size int) string { return fmt.Sprintf(event, strings.Repeat("1234567890,-0.5,1e9,", size/20)+"0") }},
	} {
		for _, size := range []struct {
			name  string
			bytes int
		}{{"512B", 512}, {"16KiB", 16 << 10}, {"1MiB", 1 << 20}} {
			for _, piece := range []int{512, 4 << 10, 32 << 10} {
				if piece > size.bytes {
					continue
				}
				text := []byte(kind.text(size.bytes))
				b.Run(fmt.Sprintf("kind-%s/size-%s/piece-%d", kind.name, size.name, piece), func(b *testing.B) {
					var s Scanner
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						s.Reset()
						for rest := text; len(rest) > 0; {
							n := min(piece, len(rest))
							s.Write(rest[:n])
							rest = rest[n:]
						}
						if !s.Whole() || s.Packet().Kind() == Unknown {
							b.Fatal("it is not whole")
						}
					}
				})
			}
		}
	}
}

func BenchmarkEchoKey(b *testing.B) {
	for name, echo := range map[string]string{
		"string": `"7f3c9e1a-1d2b-4c5d-8e9f-001122334455"`, "integer": `1700000000`, "object": `{"seq":15,"id":"a"}`,
	} {
		b.Run("kind-"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if EchoKey(raw(echo)) == "" {
					b.Fatal("no key")
				}
			}
		})
	}
}
