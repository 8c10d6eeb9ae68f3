package meta

import (
	"encoding/json"
	"testing"
)

func TestStatIsEncodedAsEncodingJSONDoes(t *testing.T) {
	for _, stat := range []Stat{
		{},
		{1, 2, 3, 4, 5, 6, 7, 8},
		{1 << 62, 1 << 40, -1, 10, 100, 1000, -1 << 63, 0},
	} {
		want, err := json.Marshal(stat)
		if err != nil {
			t.Fatal(err)
		}
		if got := stat.appendJSON(nil); string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
