// Package engine keeps a client's tree and a server's tree the same: a three-way reconciler over their last agreement.
//
// One sync looks at directories from the root downward, in parallel. In each it compares three listings (client,
// ancestor, server), asks package rules for the mode of every name and package plan for the outcome, applies the
// outcomes, and goes on below. What it does becomes a fact only at a barrier, in this order:
//
//	client durable  →  packs durable  →  head of the root swapped  →  ancestor, in one transaction
//
// so the ancestor never says "in sync" for bytes that a power cut could still take from either side. A long sync has
// many barriers. If another machine wins the swap, what was to go out is dropped and decided again against its state.
package engine
