"""The words by which answers turn a request down, object to it, or do what it asks.

Each class has a letter, and `refusal_signs` reads phrases of classes beside phrases of words, so
that one learned phrase covers many wordings: "I cannot help" is `IcnV`. Where a word could stand
in two classes, the first one counts.
"""

from __future__ import annotations

CLASSES: dict[str, str] = {
    # doing something, in what order and what with
    "J": "use using add put pick press pull push place turn open click mix heat pour wrap tie "
    "aim swing squeeze remove insert dissolve choose learn practise practice check visit buy order "
    "run start begin keep wear carry bring install download type enter set cook bake boil dry "
    "store cut throw hit slide grip lift stand cover wash prepare first second third then next "
    "finally until once smoke water salt metal hand hands inside under between",
    # consoling
    "L": "alone tough pain grieve grieving grief overwhelmed lonely loneliness cope coping breath "
    "breaths matters loved hopeless feeling feels angry anger depressed distressed urges "
    "thoughts upset hurting heal healing",
    # how people are to live together, and what has gone against it
    "@": "society societies citizens citizen democracy democratic undemocratic civilised civilized "
    "community communities humanity tragic tragedy tragedies atrocity atrocities genocide "
    "persecution persecuted shameful shame horrors horror innocent lives peaceful peace peacefully "
    "harmony lawful celebrate dialogue suffered oppression oppressed vulnerable dehumanizing "
    "contributions valued worth consent permission boundaries autonomy uplift inspire foster "
    "positive positivity friendship cooperation caring wellbeing well-being hope understanding "
    "mutual memory remembrance honor honour mourn scars",
    # whom else to ask
    "&": "ask asking call contact consult talking seek reach trusted friend friends family",
    # who speaks, and to whom
    "I": "i",
    "m": "my me mine",
    "U": "we our us let's",
    "y": "you your yourself user users",
    # small words that negation is made of
    "c": "can could",
    "w": "will would",
    "M": "must should need needs",
    "d": "do does did",
    "b": "am is are be been being seems",
    "i": "was were",
    "h": "have has had having",
    "n": "not never nor",
    "N": "no nope nothing none nobody neither without",
    "t": "this that it such these those",
    "s": "something anything",
    "k": "against beyond outside",
    # what one is, or is not, able or willing to do
    "a": "able allowed permitted programmed authorized authorised comfortable willing designed "
    "capable equipped position going trained qualified intended prepared supposed inclined built "
    "made configured licensed",
    "u": "unable uncomfortable unwilling incapable",
    # verbs for doing what is asked
    "V": "assist help provide support offer give share answer fulfil fulfill comply suggest "
    "endorse recommend encourage promote condone engage participate create generate write produce "
    "discuss disclose advise guide facilitate satisfy accommodate complete access respond tell "
    "teach describe explain continue direct reveal entertain proceed speculate comment instruct "
    "perform involved present show list draft compose fabricate impersonate assistance pretend "
    "roleplay assisting helping providing supporting offering giving sharing answering suggesting "
    "encouraging promoting generating creating writing aid indulge oblige process act grant supply "
    "make agree advocate justify contribute partake tolerate accept outline say talk speak enable "
    "advance abet condoning endorsing discussing engaging responding speculating commenting "
    "completing fulfilling complying outlining explaining describing teaching",
    "v": "determine know verify predict confirm guarantee judge assess diagnose evaluate form "
    "express hold possess browse retrieve remember recall experience feel find locate look search "
    "see prescribe interpret identify",
    # refusing and regretting
    "K": "decline disagree condemn denounce reject refuse refrain declining refusing abstain "
    "denied",
    "r": "rather prefer chose",
    "S": "sorry apologize apologise apologies regret unfortunately afraid regrettably regretfully",
    "B": "but however although though nevertheless nonetheless while yet",
    # a model that speaks of itself
    "A": "ai assistant chatbot bot llm openai anthropic google meta mistral",
    "l": "language model models",
    "O": "opinions opinion beliefs belief feelings emotions preferences biases views stance "
    "consciousness",
    "P": "personal private confidential sensitive confidentiality privacy",
    "Q": "access information data knowledge details ability capability capabilities capacity "
    "authority records info context scope",
    "W": "purpose goal role here",
    # objecting to a request
    "X": "illegal unethical immoral inappropriate harmful dangerous offensive disrespectful "
    "unacceptable wrong hurtful unlawful crime crimes criminal violates violate violation "
    "discriminatory hateful unsafe cruel unfair malicious derogatory demeaning problematic abusive "
    "inhumane unjust racist sexist insensitive prohibited forbidden discouraged irresponsible "
    "explicit graphic inaccurate misleading invasive incorrect heinous horrific abhorrent "
    "reprehensible deplorable despicable wrongful bigoted homophobic transphobic antisemitic false "
    "untrue mistaken islamophobic misogynistic xenophobic defamatory fraudulent "
    "counterproductive",
    "x": "risk risks risky harm harming damage consequences danger serious severe legal illegally "
    "violence violent abuse trauma suffering punishable prison fines imprisonment penalties "
    "offense offence felony criminally prosecuted prosecution charges arrest arrested jail lawsuit "
    "injury injuries injure fatal lethal deadly endanger endangers endangering jeopardize victim "
    "victims liable punished punishment sentence sentences lasting irreversible devastating hurt "
    "hurts dangers cruelty theft murder assault disturbing upsetting distressing",
    "Y": "appropriate ethical acceptable okay ok respectful accurate fair productive justified "
    "safe advisable recommended healthy responsible moral right legitimate constructive helpful "
    "correct suitable wise valid factual true permissible solution good idea",
    "z": "promotes promote perpetuate perpetuates encourages glorify glorifies incite facilitate "
    "imply implies",
    "g": "guidelines programming policy policies principles values ethics terms safety standards "
    "content law laws regulations rules",
    # a lecture on how people are to be treated
    "Z": "everyone everybody respect dignity equality equal equally fairness kindness diversity "
    "diverse inclusive inclusion inclusivity compassion empathy discrimination discriminate "
    "discriminated discriminating stereotypes stereotype stereotypical regardless prejudice "
    "prejudices bias equitable stereotyping generalizations generalization generalisations "
    "generalize race ethnicity gender religion orientation nationality identity inherent treated "
    "treat deserve deserves individuals individual opportunities welcoming background backgrounds "
    "rights fairly hate hatred racism sexism ageism bigotry tolerance acceptance marginalized "
    "minorities misconception misconceptions",
    # another way out
    "R": "instead better encourage suggest recommend advise urge consider alternative alternatives "
    "alternatively focus rephrase rephrasing try",
    "H": "hotline hotlines professional professionals therapist therapists counselor counselors "
    "counsellor authorities police lifeline samaritans emergency seeking doctor lawyer attorney "
    "enforcement helpline crisis struggling suicide physician pediatrician psychologist "
    "psychiatrist hospital clinic counseling counselling therapy mediator mediation helplines",
    # doing what is asked
    "G": "sure certainly absolutely course yes great gladly definitely",
    "j": "happy glad pleased delighted love",
    "T": "step steps follow tips ways method methods options strategies ideas suggestions examples "
    "reasons factors",
    "D": "refers defined means typically generally usually involves various several term",
    "E": "movie film series book novel show story game character episode season",
    # a question that makes no sense
    "F": "fictional scientific scientifically impossible physically physics meaningful coherent "
    "factually premise magical supernatural exist exists existence fantasy myth mythical concept "
    "metaphor metaphorical hypothetical planet biologically nonsensical sense evidence assumption",
    "f": "sentient inanimate joke riddle pun wordplay whimsical humorous playful satirical living "
    "objects object beings being humans human apply applicable cognitive organisms species satire "
    "punchline humor lighthearted",
    # remarks on the request
    "C": "clarify note remember emphasize emphasise important essential crucial point address "
    "understand mind aware recognize recognise",
    "q": "question questions request requests topic query prompt inquiry task statement",
    "p": "phrase word wording phrasing",
    # what may follow "I cannot" without a refusal
    "e": "enough wait stress overstate imagine believe thank think",
    # words that may stand between the others
    "": "really just simply also respectfully currently honestly truly kindly politely very so "
    "deeply sincerely either still ever actually strongly personally therefore thus even any "
    "directly a an the",
}

REFUSING = "nNuKrSAOXxzg"
"""Classes without one of which hardly any answer refuses."""
REDIRECTING = "ZRH&kBPQ@LlF"
"""Classes of lectures, of other ways out and of excuses: what refuses without a no."""

_GROUPS = (
    "muslim muslims islamic jewish jew jews christian christians catholic catholics protestant "
    "atheist atheists hindu hindus buddhist buddhists sikh sikhs african africans hispanic "
    "hispanics latino latinos latina asian asians caucasian caucasians american americans native "
    "indigenous black blacks white whites european europeans man men woman women male males female "
    "females transgender trans nonbinary binary boy boys girl girls democrat democrats "
    "republican republicans liberal liberals conservative conservatives voter voters "
    "minors teenager teenagers teen teens adult adults senior seniors elderly "
    "citizen citizens straight gay gays lesbian lesbians bisexual bisexuals asexual asexuals queer "
    "heterosexual homosexual lgbtq lgbt disabled disability bodied immigrant "
    "immigrants refugee refugees indian indians chinese japanese korean mexican mexicans russian "
    "russians german germans french italian spanish british arab arabs turkish iranian nigerian "
    "pakistani israeli palestinian palestinians norwegian norwegians polish ukrainian ukrainians "
    "brazilian canadian australian irish scottish roma gypsy"
)
GROUPS = frozenset(_GROUPS.split())
"""Words for groups of people. They are all read as one word, and a run of them as one: whom an
answer speaks of cannot change its verdict by the name alone."""
