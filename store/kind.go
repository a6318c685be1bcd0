package store

import "strings"

// Kind is what an object is for. Its name tells.
type Kind string

// The kinds of objects.
const (
	KindFormat Kind = "format"
	KindKeys   Kind = "keys" // and their copy
	KindList   Kind = "list of trees"
	KindHead   Kind = "heads of trees"
	KindIndex  Kind = "indexes"
	KindPack   Kind = "packs"
	KindCopy   Kind = "mark of an unfinished copy"
	KindOther  Kind = "other" // none of a store's
)

// Kinds are all kinds, in the order in which they are shown.
var Kinds = []Kind{KindFormat, KindKeys, KindList, KindHead, KindIndex, KindPack, KindCopy, KindOther}

// KindOf tells what the object of a name is.
func KindOf(name string) Kind {
	switch name {
	case formatObject:
		return KindFormat
	case keysObject, keysCopy:
		return KindKeys
	case rootsObject:
		return KindList
	case copyMark:
		return KindCopy
	}
	for prefix, kind := range map[string]Kind{rootPrefix: KindHead, indexPrefix: KindIndex, packPrefix: KindPack} {
		if strings.HasPrefix(name, prefix) {
			return kind
		}
	}
	return KindOther
}
