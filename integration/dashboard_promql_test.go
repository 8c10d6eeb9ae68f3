package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// expression is what an expression of PromQL asks for.
type expression struct {
	metrics []string
	grouped []string // the labels that its result has
}

var (
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	variables = regexp.MustCompile(`\$\{?(\w+)\}?`)
	selector  = regexp.MustCompile(`\b([a-z_]\w*)\{([^}]*)\}(\[[^\]]*\])?`)
	matcher   = regexp.MustCompile(`^\s*(\w+)\s*(?:=|!=|=~|!~)\s*""\s*$`)
	grouping  = regexp.MustCompile(`\bby\s*\(([^)]*)\)`)
	called    = regexp.MustCompile(`\b([a-z_]\w*)\s*\(`)
	words     = regexp.MustCompile(`[a-z_]\w*`)
)

// parseExpression fails the test if an expression is wrong, as far as can be
// told without all of PromQL.
func parseExpression(t testing.TB, text string, served map[string]servedMetric) (e expression) {
	t.Helper()
	for _, v := range variables.FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{"name", "__rate_interval"}, v[1]) {
			t.Errorf("%s has the unknown variable %s", text, v[0])
		}
	}
	if !strings.Contains(text, `name=~"$name"`) {
		t.Errorf("%s is not about the bot that was chosen", text)
	}
	bare := quoted.ReplaceAllString(text, `""`) // what is quoted is no syntax
	wantBalanced(t, bare)
	for _, m := range grouping.FindAllStringSubmatch(bare, -1) {
		labels := strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' })
		if e.grouped == nil {
			e.grouped = labels
		} else if !slices.Equal(e.grouped, labels) {
			t.Errorf("%s puts together what has the labels %v and %v", text, e.grouped, labels)
		}
	}
	functions := []string{"sum", "min", "max", "rate", "histogram_quantile", "by"}
	for _, m := range called.FindAllStringSubmatch(bare, -1) {
		if !slices.Contains(functions, m[1]) {
			t.Errorf("%s calls the unknown function %s", text, m[1])
		}
	}
	for _, m := range selector.FindAllStringSubmatchIndex(bare, -1) {
		name, matchers, ranged := bare[m[2]:m[3]], bare[m[4]:m[5]], m[6] >= 0
		have, ok := served[name]
		if !ok {
			t.Errorf("%s has %s, which Caddy does not serve", text, name)
			continue
		}
		e.metrics = append(e.metrics, name)
		labels := slices.Clone(e.grouped)
		for one := range strings.SplitSeq(matchers, ",") {
			match := matcher.FindStringSubmatch(one)
			if match == nil {
				t.Errorf("%s has the matcher %q", text, one)
				continue
			}
			labels = append(labels, match[1])
		}
		for _, label := range labels {
			if !slices.Contains(have.labels, label) {
				t.Errorf("%s has the label %s, but %s has %v", text, label, name, have.labels)
			}
		}
		// what counts is a rate, and what is has none
		rated := strings.HasSuffix(strings.TrimSpace(bare[:m[0]]), "rate(")
		if counts := have.kind != "gauge"; rated != counts || ranged != counts {
			t.Errorf("%s asks in the wrong way for %s, which is a %s", text, name, have.kind)
		}
		if bucket := strings.HasSuffix(name, "_bucket"); bucket != (strings.Contains(bare, "histogram_quantile(") && slices.Contains(e.grouped, "le")) {
			t.Errorf("%s asks in the wrong way for %s", text, name)
		}
	}
	left := called.ReplaceAllString(grouping.ReplaceAllString(selector.ReplaceAllString(bare, ""), ""), "")
	if unknown := words.FindAllString(left, -1); len(e.metrics) == 0 || len(unknown) > 0 {
		t.Errorf("%s has no metric, or %q that is unknown", text, unknown)
	}
	return e
}

// wantBalanced fails the test if brackets do not fit together.
func wantBalanced(t testing.TB, text string) {
	t.Helper()
	var open []rune
	for _, r := range text {
		switch r {
		case '(', '{', '[':
			open = append(open, map[rune]rune{'(': ')', '{': '}', '[': ']'}[r])
		case ')', '}', ']':
			if len(open) == 0 || open[len(open)-1] != r {
				t.Fatalf("%q is not closed as it is opened", text)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("%q is never closed", text)
	}
}
