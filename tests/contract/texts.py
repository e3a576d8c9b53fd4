"""20 prompts of unequal length and kind."""

PROMPTS = [
    "Hi",
    "Name three colours.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Explain in two sentences why leaves are green.",
    "List five animals that live in the desert, one a line.",
    "Translate 'good morning' into Spanish, Italian and German.",
    "What is 17 + 25?",
    "Give me a recipe for pancakes with exactly four ingredients.",
    "Finish the story: The door opened by itself and",
    "def fibonacci(n):",
    "Summarise: " + "The river rises in spring and falls in autumn. " * 12,
    "Which is heavier, a kilogram of iron or a kilogram of feathers? Why?",
    "你好，请介绍一下你自己。",
    "안녕하세요 😉",
    "1, 1, 2, 3, 5, 8,",
    "Rewrite politely: give me the report now!",
    "What should a friend say to somebody who failed an exam?",
    "Sort these words: pear, apple, fig, banana, cherry, date.",
    "Repeat after me: " + " ".join(str(n) for n in range(60)),
]
