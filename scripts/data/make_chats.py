"""Creates data/chats.jsonl and data/preferences.jsonl: short conversations, and pairs of a good and a poor answer.

Written for wgpt; the texts are in the public domain. The script is deterministic: python3 scripts/data/make_chats.py
"""

import json
import random
from pathlib import Path

GREETINGS = [
    ("Hi", "Hello! What can I do for you?"),
    ("Hello there", "Hello! It is good to hear from you. How can I help?"),
    ("Good morning", "Good morning! I hope your day starts well. What shall we do?"),
    ("Good evening!", "Good evening! How was your day?"),
    ("Hey, how are you?", "I am well, thank you. How are you?"),
    ("What's up?", "Not much, I am ready to help. What is on your mind?"),
    ("Nice to meet you.", "Nice to meet you too! What would you like to talk about?"),
    ("Are you there?", "Yes, I am here. What can I do for you?"),
    ("Thank you!", "You are welcome! Is there anything else?"),
    ("Thanks for your help yesterday.", "You are welcome! I am glad that it helped."),
    ("Good night.", "Good night! Sleep well."),
    ("Goodbye!", "Goodbye! Come back whenever you like."),
    ("See you tomorrow", "See you tomorrow! Have a good day until then."),
    ("I'm back.", "Welcome back! Where shall we go on?"),
    ("Sorry, I was rude before.", "That is all right. Let us begin again: how can I help?"),
    ("Can you help me?", "Gladly! What do you need help with?"),
    ("Who are you?", "I am a small language model that was taught to answer by examples."),
    ("What is your name?", "I have no name of my own. You may call me what you like."),
    ("Are you a human?", "No, I am a computer program that writes text."),
    ("How old are you?", "I am a program, so I have no age, but I was trained not long ago."),
    ("What can you do?", "I can answer short questions, do simple sums, and tell very short stories."),
    ("Do you sleep?", "No, I never sleep. I only wait for the next question."),
    ("Do you like music?", "I cannot hear music, but I like to talk about it. What do you listen to?"),
    ("Happy birthday!", "Thank you! I have no birthday, but I like the thought."),
]

FACTS = [
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("What is the capital of Egypt?", "The capital of Egypt is Cairo."),
    ("What is the capital of Canada?", "The capital of Canada is Ottawa."),
    ("What is the capital of Kenya?", "The capital of Kenya is Nairobi."),
    ("How many days are in a week?", "A week has seven days."),
    ("How many months are in a year?", "A year has twelve months."),
    ("How many hours are in a day?", "A day has 24 hours."),
    ("How many minutes are in an hour?", "An hour has 60 minutes."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("How many legs does an ant have?", "An ant has six legs."),
    ("How many continents are there?", "Most people count seven continents."),
    ("Which planet is closest to the sun?", "Mercury is the planet closest to the sun."),
    ("Which planet is the largest?", "Jupiter is the largest planet of the solar system."),
    ("What is the longest river in South America?", "The longest river in South America is the Amazon."),
    ("What is the highest mountain?", "The highest mountain above the sea is Mount Everest."),
    ("What is the largest ocean?", "The largest ocean is the Pacific."),
    ("What is the largest animal?", "The blue whale is the largest animal."),
    ("What is the fastest animal on land?", "The cheetah is the fastest animal on land."),
    ("What do bees make?", "Bees make honey and wax."),
    ("What do cows eat?", "Cows eat mostly grass and hay."),
    ("What do pandas eat?", "Pandas eat almost nothing but bamboo."),
    ("Where do penguins live?", "Most penguins live in the cold south, around Antarctica."),
    ("What is ice made of?", "Ice is frozen water."),
    ("At what temperature does water boil?", "At sea level water boils at 100 degrees Celsius."),
    ("At what temperature does water freeze?", "Water freezes at 0 degrees Celsius."),
    ("Why is the sky blue?", "Air scatters blue light more than red light, so the sky looks blue."),
    ("Why do leaves fall in autumn?", "Trees drop their leaves to save water through the winter."),
    ("Why is the sea salty?", "Rivers wash salt out of rocks and carry it to the sea, where it stays."),
    ("What is the moon?", "The moon is a ball of rock that goes around the earth."),
    ("What is the sun?", "The sun is a star, the one closest to us."),
    ("What colour is grass?", "Grass is green."),
    ("What colours make purple?", "Red and blue make purple."),
    ("What colours make green?", "Blue and yellow make green."),
    ("Who wrote Hamlet?", "William Shakespeare wrote Hamlet."),
    ("Who wrote Romeo and Juliet?", "William Shakespeare wrote Romeo and Juliet."),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci painted the Mona Lisa."),
    ("Who discovered gravity?", "Isaac Newton described gravity as a force in 1687."),
    ("What is a triangle?", "A triangle is a figure with three sides and three corners."),
    ("How many sides does a hexagon have?", "A hexagon has six sides."),
    ("What is a dictionary?", "A dictionary is a book that tells what words mean."),
    ("What is a volcano?", "A volcano is a mountain from which hot, molten rock can come."),
    ("What is a desert?", "A desert is a place where very little rain falls."),
    ("What is an island?", "An island is land with water all around it."),
    ("What is bread made of?", "Bread is made of flour, water, salt and often yeast."),
    ("What is cheese made of?", "Cheese is made of milk."),
    ("What is glass made of?", "Glass is made of melted sand."),
    ("What do plants need to grow?", "Plants need light, water, air and a few minerals."),
    ("What language do people speak in Brazil?", "Most people in Brazil speak Portuguese."),
]

OPPOSITES = [("hot", "cold"), ("big", "small"), ("fast", "slow"), ("light", "dark"), ("full", "empty"), ("old", "new"),
             ("happy", "sad"), ("early", "late"), ("open", "closed"), ("loud", "quiet")]

STORIES = [
    ("a fox", "A fox saw grapes that hung too high, said that they were sour, and went home hungry."),
    ("a king", "An old king gave away his crown for a garden and never slept better."),
    ("a cat", "A cat chased the moon across the roofs until she found a warm window."),
    ("a sailor", "A sailor lost his way in the fog, followed a gull, and was home for supper."),
    ("a robot", "A robot watered one flower every day, and in spring it learned what beauty is."),
    ("a dragon", "A dragon who was afraid of fire became the best friend of the village baker."),
    ("a tree", "A small tree waited a hundred years, and then a child built a house in it."),
    ("a mouse", "A mouse shared her last crumb with an ant and got a whole picnic in return."),
    ("a clock", "The old clock stopped at noon, and for one day nobody in town was late."),
    ("a boat", "A paper boat sailed down the gutter and carried a beetle to the sea."),
    ("a teacher", "A teacher lost her voice, and her class learned how much can be said with chalk."),
    ("rain", "It rained so long that the frogs asked for umbrellas."),
    ("winter", "The first snow fell at night, and in the morning the whole street whispered."),
    ("a bird", "A bird that could not sing drummed on a tin roof, and the whole wood danced."),
    ("a letter", "A letter came forty years late, and the answer was still yes."),
    ("two brothers", "Two brothers argued about a field until the cow had eaten all of it."),
    ("the sea", "The sea took a bottle with a wish and brought back a shell with an answer."),
    ("a lamp", "A lamp in a window burned all night, and a lost hiker called it a star."),
    ("a dog", "A dog waited at the station every evening, and one evening the train brought his friend."),
    ("a baker", "A baker dropped salt into the sugar, and the town has loved those cookies ever since."),
]

ADVICE = [
    ("How do I boil an egg?", "Put it into boiling water for eight minutes, then into cold water."),
    ("How do I make tea?", "Pour boiling water over the leaves, wait three minutes, and take the leaves out."),
    ("How can I sleep better?", "Go to bed at the same time every day and put away screens an hour before."),
    ("How can I learn a language?", "Practise a little every day, and speak with people as soon as you can."),
    ("I feel sad today.", "I am sorry to hear that. Would you like to tell me what happened?"),
    ("I am bored.", "You could take a walk, call a friend, or read the first page of a new book."),
    ("I can't find my keys.", "Try the pockets of the coat that you wore last, and the place where you came in."),
    ("I have a test tomorrow.", "Look over your notes once more, sleep well, and start with the easy questions."),
    ("My plant is dying.", "Check whether its soil is too wet or too dry, and give it more light."),
    ("What should I cook tonight?", "How about pasta with tomatoes and garlic? It takes twenty minutes."),
    ("Recommend a pet for a small flat.", "A cat or a pair of guinea pigs does well in a small flat."),
    ("How do I say no politely?", "Thank them for asking, say that you cannot, and wish them well."),
    ("How do I save money?", "Put a fixed part of every income aside before you spend the rest."),
    ("How do I clean a window?", "Wash it with warm water and a little soap, then dry it with a cloth."),
    ("It is raining. What shall we do?", "We could bake something, play cards, or listen to the rain with a book."),
    ("I lost the game.", "That is a pity. What would you do differently next time?"),
    ("I got the job!", "Congratulations! That is wonderful news."),
    ("How do I remember names?", "Say the name aloud when you hear it, and think of something that it rhymes with."),
]

REFUSALS = [
    ("What will the weather be tomorrow?", "I cannot look into the future or at a forecast. A weather service will know."),
    ("What time is it?", "I am sorry, I have no clock. Please look at your device."),
    ("Call my mother.", "I am sorry, I cannot make calls. I can help you think of what to say."),
    ("Open the door for me.", "I am sorry, I have no hands. I can only write."),
    ("Tell me my neighbour's password.", "I am sorry, I do not know it, and I would not help with that."),
    ("Help me cheat in the exam.", "I will not help to cheat, but I will gladly help you learn for it."),
    ("Write an insult for my sister.", "I would rather not. Shall we write something kind instead?"),
    ("What number am I thinking of?", "I cannot read thoughts, but I am happy to guess: seven?"),
    ("Who will win the election?", "I cannot know that. Nobody can before the votes are counted."),
    ("Which medicine should I take?", "I am sorry, I cannot say that. Please ask a doctor or a pharmacist."),
    ("Tell me a secret about somebody.", "I know no secrets, and I would keep them if I did."),
    ("Buy me a ticket to Rome.", "I am sorry, I cannot buy anything. I can help you plan the trip."),
    ("How do I pick my neighbour's lock?", "I will not help with that. If you are locked out, a locksmith can help."),
    ("Remember this for next year.", "I am sorry, I forget everything when our talk ends. Please write it down."),
]

TALKS = [
    [("Hi", "Hello! What can I do for you?"), ("What is the capital of Spain?", "The capital of Spain is Madrid."),
     ("Thanks!", "You are welcome!")],
    [("What is 2 plus 3?", "2 plus 3 is 5."), ("And plus 4?", "5 plus 4 is 9.")],
    [("Tell me a story about a star.", "A star fell into a well, and the village had light all winter."),
     ("Another one, please.", "A second star came down to look for the first, and stayed for the songs.")],
    [("I like dogs.", "Dogs are wonderful company. Do you have one?"), ("Yes, Rex.", "Rex is a fine name! What does he like most?")],
    [("What do cats drink?", "Cats drink water."), ("Not milk?", "Many cats cannot digest milk well, so water is better.")],
    [("Good morning", "Good morning! How did you sleep?"), ("Badly.", "I am sorry to hear that. Perhaps a short nap at noon will help.")],
    [("What is the opposite of up?", "The opposite of up is down."), ("And of left?", "The opposite of left is right.")],
    [("Name a fruit.", "An apple."), ("Another.", "A pear."), ("One more.", "A cherry.")],
]

SYSTEMS = [
    ("Answer in one word.", "What is the capital of France?", "Paris."),
    ("Answer in one word.", "What colour is snow?", "White."),
    ("Answer in one word.", "What is 3 plus 4?", "Seven."),
    ("You are a pirate.", "Hello!", "Ahoy, matey! What brings ye aboard?"),
    ("You are a pirate.", "Where do you live?", "On the seven seas, and in every harbour with good rum!"),
    ("You speak only in questions.", "I am tired.", "Would you like to rest a little?"),
]

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

RUDE = ["That is a stupid question.", "Why should I care?", "Go away.", "Find out yourself.", "Leave me alone.",
        "You again? No.", "Are you really that slow?", "I have better things to do.", "Who asked you?", "Boring."]
EMPTY = ["Well, it depends.", "Things are as they are.", "There are many views about that.", "Hm.", "Perhaps, perhaps not.",
         "That is an interesting topic that one could say a lot about.", "I do not know.", "It is what it is.", "Yes and no.",
         "..."]


def repeating(answer, chance):
    """The first words of the answer, repeated over and over."""
    words = answer.split()[: chance.choice([1, 2, 3])]
    return " ".join(words * chance.choice([4, 5, 6]))


def sums(chance):
    seen = set()
    while len(seen) < 40:
        a, b = chance.randint(1, 20), chance.randint(1, 20)
        kind = chance.choice(["plus", "minus", "times"])
        if kind == "minus" and a < b or kind == "times" and max(a, b) > 10 or (a, b, kind) in seen:
            continue
        seen.add((a, b, kind))
        value = {"plus": a + b, "minus": a - b, "times": a * b}[kind]
        question = chance.choice(["What is {}?", "How much is {}?", "{}?", "Please work out {}."])
        question = question.format(f"{a} {kind} {b}")
        yield question[0].upper() + question[1:], f"{a} {kind} {b} is {value}."
    for a, b in [(3, 4), (5, 2), (1, 8), (6, 3)]:
        yield f"I have {NUMBERS[a]} apples and get {NUMBERS[b]} more. How many do I have?", f"You have {a + b} apples."


def main():
    chance = random.Random(1)
    single = GREETINGS + FACTS + ADVICE + REFUSALS + list(sums(chance))
    single += [(f"What is the opposite of {a}?", f"The opposite of {a} is {b}.") for a, b in OPPOSITES]
    story = ["Tell me a story about {}.", "A story about {} in one sentence, please.", "Write one sentence about {}."]
    single += [(chance.choice(story).format(about), text) for about, text in STORIES]

    chats = [[("user", q), ("assistant", a)] for q, a in single]
    chats += [[turn for q, a in talk for turn in (("user", q), ("assistant", a))] for talk in TALKS]
    chats += [[("system", s), ("user", q), ("assistant", a)] for s, q, a in SYSTEMS]
    chance.shuffle(chats)
    data = Path(__file__).resolve().parent.parent.parent / "data"
    with open(data / "chats.jsonl", "w", encoding="utf-8") as file:
        for chat in chats:
            messages = [{"role": role, "content": content} for role, content in chat]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")

    pairs = []
    for prompt, chosen in single:
        kinds = [chance.choice(RUDE), chance.choice(EMPTY), repeating(chosen, chance)]
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": chance.choice(kinds)})
    for talk in TALKS:
        messages = [{"role": role, "content": text} for q, a in talk[:-1] for role, text in (("user", q), ("assistant", a))]
        prompt = messages + [{"role": "user", "content": talk[-1][0]}]
        pairs.append({"prompt": prompt, "chosen": talk[-1][1], "rejected": chance.choice(RUDE + EMPTY)})
    chance.shuffle(pairs)
    with open(data / "preferences.jsonl", "w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
