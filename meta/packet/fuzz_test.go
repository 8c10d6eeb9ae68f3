package packet

import (
	"math/rand/v2"
	"testing"
)

func FuzzScanner(f *testing.F) {
	for i, s := range samples {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		var s Scanner
		cuts := rand.New(rand.NewPCG(seed, 0))
		checkScan(t, &s, text, cuts)
		checkScan(t, &s, text, cuts)
		checkScan(t, &s, text, nil)
	})
}

// Most of what a fuzzer makes is broken early. These texts are mostly whole.
func TestTextsMadeOfUsualParts(t *testing.T) {
	parts := []string{
		`{`, `}`, `[`, `]`, `,`, `:`, ` `, "\n", `"action"`, `"post_type"`, `"status"`, `"online"`, `"retcode"`, `"echo"`,
		`"interval"`, `"sub_type"`, `"\u0065cho"`, `"ok"`, `"a\\"`, `"1"`, `0`, `-1.5e3`, `true`, `false`, `null`, `"\ud83d\ude00"`,
	}
	r := rand.New(rand.NewPCG(4, 0))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	var value func(depth int) string
	value = func(depth int) string {
		text, n := "", r.IntN(6)
		switch k := r.IntN(8); {
		case k < 2 && depth < 5:
			for i := range n {
				if i > 0 {
					text += ","
				}
				text += value(depth + 1)
			}
			return "[" + text + "]"
		case k < 5 && depth < 5 || depth == 0:
			for i := range n {
				if i > 0 {
					text += ", "
				}
				text += pick(parts[8:17]) + ":" + value(depth+1)
			}
			return "{" + text + "}"
		}
		return pick(parts[8:])
	}
	var s Scanner
	whole := 0
	const rounds = 20_000
	for range rounds {
		text := []byte(value(0))
		for r.IntN(3) == 0 { // one mistake or more
			at := r.IntN(len(text) + 1)
			cut := min(at+r.IntN(3), len(text))
			text = append(append(append([]byte(nil), text[:at]...), pick(parts)...), text[cut:]...)
		}
		checkScan(t, &s, text, r)
		if s.Whole() {
			whole++
		}
	}
	if whole < rounds/4 || whole > rounds*95/100 {
		t.Errorf("%d of %d texts are whole, which tests too little", whole, rounds)
	}
}
