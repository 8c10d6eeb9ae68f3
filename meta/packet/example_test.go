package packet_test

import (
	"fmt"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func ExampleScanner() {
	var s packet.Scanner
	for _, piece := range []string{`{"act`, `ion":"get_st`, `atus","params":{},"echo":7`} {
		s.Write([]byte(piece))
		fmt.Printf("%t %q\n", s.Decided(), s.Packet().Action)
	}
	s.Write([]byte("}"))
	fmt.Println(s.Whole(), s.Packet().Kind() == packet.Call, packet.EchoKey(s.Packet().Echo))
	// Output:
	// false ""
	// false ""
	// true "get_status"
	// true true 7
}
