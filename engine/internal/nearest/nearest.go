// Package nearest finds the word that someone probably meant.
package nearest

import "strings"

// maxWord bounds the work for a word from outside; longer ones get no suggestion.
const maxWord = 64

// Word returns the valid word that is nearest to a mistyped one, or "" if none is near: at most a third of its letters
// are wrong, missing, added or swapped with their neighbour (optimal string alignment distance), without regard to
// case. Of equally near words the first one is returned.
func Word(word string, valid []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, limit := "", max(1, len(word)/3)+1
	for _, v := range valid {
		if len(v) > maxWord {
			continue
		}
		if d := distance(strings.ToLower(word), strings.ToLower(v)); d < limit {
			best, limit = v, d
		}
	}
	return best
}

// Hint returns "; did you mean X?" for the nearest word, or "".
func Hint(word string, valid []string) string {
	if near := Word(word, valid); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
