"""Results to and from other tools: tables, Inspect, lm-eval, promptfoo, Every Eval Ever.

What another tool has written is a stranger's file: its size is bounded, nothing of it is executed,
and what is wrong with it is said in one line.
"""
