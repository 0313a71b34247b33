"""Sentences: a small generative grammar over the word lists, one `Tongue` for each document."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from dsdc.samples import words

_SLOT = re.compile(r"\{(\w+)\}")

#: Sentences by what they are about. A slot in braces is filled by `Tongue`, and its filling may hold slots again.
SENTENCES: dict[str, tuple[str, ...]] = {
    "business": (
        "We have reviewed the {product} program for {place} and find that {finding}.",
        "As discussed in our {meeting} of {shortdate}, the {department} group will {action} by {date}.",
        "The attached {doc} summarizes the {quantity} results through {month}.",
        "It is my understanding that {finding}, and that {department} will {action}.",
        "I would appreciate your comments on the {doc} no later than {date}.",
        "{brand} volume {moved} {percent} percent versus a year ago, while the category {moved} {percent} percent.",
        "A total of ${money} has been set aside for {activity} during the {ordinal} quarter.",
        "Please let me know whether the {doc} should also go to {lastname} and {lastname}.",
        "Our {process} trials at {town} confirm that {finding}.",
        "Shipments of {material} from {company} have been late on {small} occasions this year.",
        "We agreed to {action} before the next {meeting}.",
        "The cost of {material} is expected to rise about {percent} percent by {month}.",
        "No change in {quantity} was noted when {material} was substituted.",
        "The proposed agreement with {company} has been sent to {department} for approval.",
        "Distribution in {place} now stands at {percent} percent, against a goal of {percent}.",
        "{name} has asked that we {action} and report to {department}.",
        "If the {activity} is extended, an additional ${money} will be required.",
        "The file on {brand} should be kept with the {year} records.",
        "Since {quantity} remains above target, {department} recommends that we {action}.",
        "Two questions remain open: the {quantity} of the {product}, and who will {action}.",
        "There is some concern in {town} that {finding}.",
        "The enclosed samples of {material} were drawn from lot {code} on {shortdate}.",
        "Bids were received from {company} and {company}; the former was lower by ${money}.",
        "Copies of the {doc} have been placed in the {department} files under {code}.",
        "The {meeting} has been moved to {day}, {date}, in {town}.",
        "Inventories of {product}s stood at {number},000 units at the end of {month}.",
        "Our attorneys advise that the {doc} be held until {lastname} has replied.",
        "{lastname} will be responsible for {activity} and {lastname} for {process}.",
        "Retail prices in {place} {moved} {number2} cents after the {month} increase.",
        "This replaces the {doc} dated {date}, which should be destroyed.",
        "Work on {process} was delayed {small} weeks because the {material} had not arrived.",
        "Coverage of {group} was weak, and {percent} percent of the displays were not in place.",
        "May I suggest that we {action} and, if that fails, {action}?",
        "All travel to {town} must be approved by {department} until further notice.",
        "There were {samples} complaints about {quantity} in {month}, mostly from {town}.",
        "The agency proposes a test of {brand} in {town} at a cost of ${money}.",
    ),
    "courtesy": (
        "Thank you for your letter of {shortdate}.",
        "Many thanks for your help with the {activity}.",
        "Enclosed is the {doc} that you requested.",
        "It was a pleasure to meet with you and {lastname} in {town} last week.",
        "Please call me at {phone} if you have any questions.",
        "I look forward to hearing from you.",
        "If I can be of any further assistance, please do not hesitate to contact me.",
        "We appreciate your continued interest in {brand}.",
        "I hope that this answers your inquiry about the {product}.",
        "With best regards to you and your family, I remain at your disposal.",
        "Would you kindly sign both copies and return one to this office?",
        "We regret that we cannot be of help in this matter at the present time.",
    ),
    "consumer": (
        "I have used {brand} for {small} years and never had a complaint until now.",
        "The last carton I bought in {town} was stale, and I want my money back.",
        "My husband and I enjoy your {product} very much.",
        "Please send me {small} coupons and the free {gift} that was advertised.",
        "Why did you change the package? The old one was better.",
        "I sent in {number} proofs of purchase on {shortdate} and still have not received the {gift}.",
        "The store here no longer carries {brand} and I have to drive to {town}.",
        "I am enclosing the one I was unable to use. It is just no good.",
        "All my friends at work are asking where I got the {gift}.",
        "Keep up the good work and God bless.",
    ),
    "science": (
        "The {quantity} of the {material} was determined by {process} at {temp} C.",
        "{samples} samples were conditioned at {percent} percent relative humidity for {small} days before {process}.",
        "A significant increase in {quantity} was observed at the {adjective} dose (p < 0.0{digit}).",
        "Differences among groups were not significant when {quantity} was used as a covariate.",
        "These data suggest that {process} reduces {quantity} by approximately {percent} percent.",
        "The {material} was extracted with methanol, concentrated, and analyzed in duplicate.",
        "Results are expressed as mean plus or minus standard error for {samples} determinations.",
        "Table {digit} shows the {quantity} obtained with each {product}.",
        "Control animals received {material} alone, on the same schedule.",
        "The relation between {quantity} and {quantity2} is shown in Figure {digit}.",
        "{lastname} and {lastname} ({year}) reported a similar effect of {process} on {material}.",
        "The mechanism by which {material} alters {quantity} remains unknown.",
        "No dose-related changes in {quantity} were found at necropsy.",
        "Reproducibility of the method was within {percent} percent over a period of {small} weeks.",
        "Further work is needed to establish whether {finding}.",
        "The {adjective} fraction accounted for {percent} percent of the recovered activity.",
        "Standards of {material} were prepared fresh daily and stored in the dark at {temp} C.",
        "Male rats weighing {number} g were housed individually and given food and water ad libitum.",
        "The regression of {quantity} on {quantity2} gave a correlation coefficient of 0.{number}.",
        "It is concluded that {finding}.",
        "Each run was made in triplicate, and the first {small} readings were discarded.",
        "Recovery of {material} added at {number} ppm averaged {percent} percent.",
        "Values for {quantity} ranged from {digit}.{digit} to {number2}.{digit}, with a median of {number2}.",
        "The apparatus consisted of a {small}-port smoking machine, a trap at {temp} C and a flame detector.",
        "Lesions were graded without knowledge of the treatment.",
        "The slope of the dose-response curve was steeper for {material} than for {material}.",
        "An analysis of variance showed no interaction between {process} and {quantity}.",
        "Peaks were identified by comparison with authentic {material}.",
        "Of the {samples} animals at risk, {small} died before the end of the study.",
        "We thank {name} for technical assistance and {company} for a gift of {material}.",
        "The coefficient of variation for {quantity} was {digit}.{digit} percent within days and {number2} between.",
    ),
    "press": (
        "{town} -- {company} said {day} that it will {action} next year, ending months of speculation.",
        "Sales of {product}s have {moved} {percent} percent since {year}, according to a study released here {day}.",
        '"We see no reason to {action}," said {name}, a spokesman for the industry.',
        '"There is simply no evidence that {finding}," {lastname} told reporters after the hearing.',
        "Shares of the company closed at {digit}{digit} 1/2, up {digit}/8, in active trading.",
        "The measure, which passed the House by {samples} votes, would {action} in all public buildings.",
        "Critics of the bill, led by {name}, contend that {finding}.",
        "A spokeswoman declined to comment on reports that {company} had agreed to {action}.",
        "About {number},000 people in {town} depend on the plant for their living.",
        "Farmers at the {town} market said prices for {material} averaged ${digit}.{number2} a pound.",
        "The committee will take up the question again in {month}.",
        "Advertising outlays for {brand} alone exceeded ${money} last year.",
        "Health officials said {percent} percent of those surveyed favored the restrictions.",
        "In {year} the company employed more than {number} workers at the {town} factory.",
        "The survey of {number} adults has a margin of error of {digit} points.",
        "The company, which makes {brand} and {brand}, lost ${money} in the {ordinal} quarter.",
        "Lawmakers were divided over whether to {action} or wait for the {doc}.",
        "Outside the hall, {number} pickets carried signs and handed out leaflets.",
        '"This is a sad day for {town}," said {name}, who has grown {material} for {small} decades.',
        "The ban takes effect {month} {digit} unless the court rules otherwise.",
        "Industry analysts expect {place} to feel the change first.",
        "{name}, {number2}, has been with the company since {year}.",
        "The price of {material} fell in heavy trading on the {town} exchange.",
    ),
    "bullets": (
        "{brand} share {moved} {digit}.{digit} points",
        "Increase trial among {group}",
        "Maintain pricing in {place}",
        "{action}",
        "Reduce {quantity} by {percent}%",
        "Focus spending on {activity}",
        "Competitive {product} introduced in {month}",
        "{department} to report by {shortdate}",
        "Improve {quantity} of {product}",
        "{percent}% awareness among {group}",
        "New {material} supplier qualified",
        "Expand {activity} to {samples} markets",
        "Total investment: ${money}",
        "Strengthen {brand} image with {group}",
        "Key learning: {finding}",
    ),
    "claims": (
        "So {taste}, so {taste}, you will wonder why you waited.",
        "Only {brand} gives you the {taste} taste of real {material}.",
        "More {taste} flavor in every {product}.",
        "For people who like things {taste}.",
        "Discover the {taste} side of {town}.",
        "{percent}% less {quantity} than the leading {product}.",
        "The {product} that took {small} years to perfect.",
        "Try a pack today. If you do not agree, we will refund your money.",
        "Now in a crush-proof box, at no extra cost.",
        "Come to where the {taste} is.",
        "Made with {material} from the hills of {town}, and nothing else.",
    ),
    "question": (
        "How often do you buy {product}s?",
        "Which brand of {product} do you use most often?",
        "How would you rate the {quantity} of the product you just tried?",
        "Have you seen or heard any advertising for {brand} in the past {small} weeks?",
        "Did you redeem the coupon for a free {gift}?",
        "Where do you usually buy {product}s?",
        "How likely are you to buy {brand} if it cost {number2} cents more?",
        "What, if anything, did you dislike about the {product}?",
        "In which of the following age groups do you belong?",
        "Have you switched brands in the past {small} months?",
        "Do you agree or disagree that {finding}?",
        "Before today, had you ever heard of {brand}?",
        "How many people in your household use {product}s regularly?",
        "Who in your firm decides to {action}?",
        "Does your company have a written policy on {activity}?",
        "Would you say the taste was too strong, too mild, or just about right?",
    ),
}

#: Openings that may go before a sentence of that kind.
LEADS: dict[str, tuple[str, ...]] = {
    "business": (
        "As you know, ",
        "At this time, ",
        "In my opinion, ",
        "For your information, ",
        "In addition, ",
        "However, ",
        "To date, ",
        "Per your request, ",
        "According to {lastname}, ",
        "Based on the {doc}, ",
        "On the other hand, ",
        "Briefly, ",
        "Therefore, ",
        "Subject to your approval, ",
        "During the {meeting}, it was noted that ",
        "Effective {date}, ",
    ),
    "science": (
        "In these experiments, ",
        "Under the conditions of this study, ",
        "In contrast, ",
        "Furthermore, ",
        "In a second trial, ",
        "As expected, ",
        "However, ",
        "After {small} weeks, ",
        "By comparison, ",
        "In general, ",
        "Nevertheless, ",
        "Among {group}, ",
    ),
    "press": (
        "Meanwhile, ",
        "In {town}, ",
        "Last {month}, ",
        "But ",
        "According to {lastname}, ",
        "Still, ",
        "Even so, ",
        "And ",
    ),
    "consumer": (
        "Well, ",
        "To be honest, ",
        "I am 6{digit} years old and ",
        "P.S. ",
        "Besides, ",
        "And another thing: ",
        "Anyway, ",
    ),
    "courtesy": ("Again, ", "As always, ", "Meanwhile, "),
}

PHRASES: dict[str, tuple[str, ...]] = {
    "finding": (
        "{quantity} can be held within {percent} percent of target",
        "the {product} is preferred by {group}",
        "{material} from {company} meets our requirements",
        "{activity} costs more than it returns",
        "{process} has little effect on {quantity}",
        "consumers do not notice the change in {quantity}",
        "the present method overstates {quantity}",
        "the market for {product}s is likely to soften",
        "{quantity} depends on the amount of {material}",
        "no single cause can explain the decline",
        "exposure to {material} is not associated with {quantity}",
    ),
    "action": (
        "revise the {doc}",
        "test the new {product} in {town}",
        "begin {process} at the {town} plant",
        "reduce the inventory of {material}",
        "approve the {activity}",
        "evaluate {material} from a second supplier",
        "raise the list price of {brand}",
        "complete the {doc}",
        "postpone the {meeting}",
        "restrict sales through {place}",
        "measure {quantity} on each lot",
        "reply to {company}",
    ),
    "doc": (
        "report",
        "proposal",
        "draft",
        "contract",
        "schedule",
        "protocol",
        "memorandum",
        "media plan",
        "budget",
        "manuscript",
        "quarterly summary",
        "specification",
        "questionnaire",
        "invoice",
        "audit",
        "agenda",
    ),
    "meeting": ("meeting", "telephone conversation", "conference", "staff meeting", "presentation", "visit", "review"),
    "activity": (
        "sampling",
        "direct mail",
        "the retail display program",
        "the race sponsorship",
        "consumer research",
        "the tennis tournament",
        "outdoor advertising",
        "the pilot plant run",
        "sales training",
        "the sweepstakes",
        "the inhalation study",
        "the coupon drop",
        "media relations",
        "leaf purchasing",
    ),
    "group": (
        "adults 21 to 34",
        "women 25 to 49",
        "current users",
        "competitive users",
        "heavy users",
        "retailers",
        "blue-collar men",
        "young adults",
        "urban consumers",
        "opinion leaders",
        "nonusers",
        "physicians",
    ),
    "moved": ("rose", "fell", "increased", "declined", "was up", "was down", "gained", "slipped"),
    "ordinal": ("first", "second", "third", "fourth"),
    "small": ("two", "three", "four", "five", "six", "seven", "ten", "twelve"),
    "adjective": ("high", "low", "intermediate", "highest", "neutral", "acidic", "volatile", "semivolatile", "basic"),
    "gift": ("lighter", "jacket", "wall calendar", "T-shirt", "watch", "cap", "recipe book", "tote bag", "mug"),
    "taste": (
        "smooth",
        "mellow",
        "rich",
        "cool",
        "crisp",
        "golden",
        "fresh",
        "honest",
        "bold",
        "mild",
        "light",
        "rare",
    ),
}


def _lower(template: str) -> str:
    """The template as it goes on after a lead: names and pronouns keep their capital."""
    first = template.split(" ", 1)[0]
    keeps = first.startswith(("{", '"')) or first == "I" or first.isupper() or first in ("Table", "Figure")
    return template if keeps else template[0].lower() + template[1:]


class Tongue:
    """Invents names, numbers and sentences that agree with each other inside one document."""

    def __init__(self, rng: random.Random, trade: str | None = None) -> None:
        self.rng = rng
        self.trade = trade or rng.choices(tuple(words.TRADES), weights=(5, 2, 1, 2))[0]
        self.lexicon = words.TRADES[self.trade]
        self.year = rng.choices(range(1952, 2004), weights=[1 + (y > 12) * 2 + (y > 25) * 2 for y in range(52)])[0]
        self.ours = self.company()
        self._decks: dict[str, list[str]] = {}

    def say(self, template: str) -> str:
        """The template with every slot filled, down to the last."""
        while "{" in template:
            template = _SLOT.sub(lambda found: self._fill(found.group(1)), template)
        return template.replace("'ss", "'s")  # more than one "menthol 100's"

    def _fill(self, slot: str) -> str:
        words_of_trade = self.lexicon.get(slot.removesuffix("2") if slot == "quantity2" else slot)
        if words_of_trade:
            return self.rng.choice(words_of_trade)
        if slot in PHRASES:
            return self.rng.choice(PHRASES[slot])
        return self._made(slot)

    def _made(self, slot: str) -> str:
        rng = self.rng
        makers = {
            "name": self.name,
            "lastname": self.lastname,
            "company": self.company,
            "town": self.town,
            "department": self.department,
            "date": self.date,
            "shortdate": self.shortdate,
            "month": lambda: rng.choice(words.MONTHS),
            "day": lambda: rng.choice(words.DAYS),
            "year": lambda: str(self.year - rng.randint(0, 6)),
            "money": lambda: self.money(rng.choice((5e3, 4e4, 3e5, 4e6)), cents=False),
            "percent": lambda: rng.choice((str(rng.randint(2, 96)), f"{rng.uniform(0.4, 30):.1f}")),
            "digit": lambda: str(rng.randint(1, 9)),
            "number": lambda: str(rng.randint(100, 989)),
            "number2": lambda: str(rng.randint(10, 98)),
            "samples": lambda: str(rng.randint(8, 240)),
            "temp": lambda: str(rng.choice((4, 20, 22, 25, 37, 60, 110, 250, -18))),
            "code": self.code,
            "phone": self.phone,
            "hs": self._surname,
        }
        return makers[slot]()

    def sentence(self, kind: str) -> str:
        """A sentence; a template comes back only after all others of its kind were used."""
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck += self.rng.sample(SENTENCES[kind], len(SENTENCES[kind]))
        template = deck.pop()
        if kind in LEADS and " -- " not in template and self.rng.random() < 0.22:
            template = self.rng.choice(LEADS[kind]) + _lower(template)
        text = self.say(template)
        return text[0].upper() + text[1:]

    def sentences(self, kind: str, count: int) -> list[str]:
        return [self.sentence(kind) for _ in range(count)]

    def paragraph(self, *kinds: str, low: int = 2, high: int = 5) -> str:
        """Sentences drawn from each of the kinds in turn of chance."""
        return " ".join(self.sentence(self.rng.choice(kinds)) for _ in range(self.rng.randint(low, high)))

    def firstname(self) -> str:
        return self.rng.choice(words.FIRST)

    def _surname(self) -> str:
        """Two parts put together; no letter comes three times in a row."""
        head, tail = self.rng.choice(words.SURNAME_HEAD), self.rng.choice(words.SURNAME_TAIL)
        return head + (tail[1:] if head[-2:] == tail[0] * 2 else tail)

    def lastname(self) -> str:
        made = self._surname()
        return "Mc" + made if self.rng.random() < 0.04 else made

    def initials(self) -> str:
        return f"{self.rng.choice('ABCDEFGHJKLMNPRSTW')}. {self.rng.choice('ABCDEFGHJKLMNPRSTW')}."

    def name(self) -> str:
        first = self.firstname() if self.rng.random() < 0.55 else self.initials()
        if self.rng.random() < 0.3 and not first.endswith("."):
            first += f" {self.rng.choice('ABCDEFGHJKLMPRSTW')}."
        return f"{first} {self.lastname()}"

    def company(self) -> str:
        head = self._surname()
        if self.rng.random() < 0.2:
            head += f" & {self.lastname()}"
        return f"{head} {self.rng.choice(words.COMPANY_TAIL)}"

    def institute(self) -> str:
        return self.say(self.rng.choice(words.INSTITUTES))

    def paper(self) -> str:
        return self.say(self.rng.choice(words.PAPERS))

    def town(self) -> str:
        return self.rng.choice(words.TOWN_HEAD)

    def department(self) -> str:
        return self.rng.choice(words.DEPARTMENTS)

    def job(self) -> str:
        return self.rng.choice(words.JOBS)

    def street(self) -> str:
        return f"{self.rng.randint(10, 4900)} {self.rng.choice(words.STREETS)}"

    def city(self) -> str:
        """Town, state and, from the sixties on, a ZIP code."""
        state = self.rng.choice(words.STATE_CODES if self.year > 1970 else words.STATES)
        code = f" {self.rng.randint(10000, 98999)}" if self.year > 1963 else ""
        return f"{self.town()}, {state}{code}"

    def phone(self) -> str:
        area, number = self.rng.randint(201, 919), f"555-{self.rng.randint(0, 9999):04d}"
        return self.rng.choice((f"({area}) {number}", f"{area}/{number}", f"{area}-{number}"))

    def code(self) -> str:
        rng = self.rng
        letters = "".join(rng.choice("ABCDEFGHKLMNPRSTWX") for _ in range(rng.randint(1, 3)))
        return rng.choice(
            (
                f"{letters}-{rng.randint(10, 9999)}",
                f"{rng.randint(10, 99)}-{rng.randint(100, 9999)}",
                f"{rng.randint(1000, 999999)}",
            )
        )

    def date(self) -> str:
        rng = self.rng
        month, day = rng.choice(words.MONTHS), rng.randint(1, 28)
        if rng.random() < 0.12:
            return f"{day} {month} {self.year}"
        return f"{month} {day}, {self.year}"

    def shortdate(self) -> str:
        rng = self.rng
        month, day, year = rng.randint(1, 12), rng.randint(1, 28), self.year % 100
        return rng.choice(
            (f"{month}/{day}/{year:02d}", f"{words.MONTHS[month - 1]} {day}", f"{month:02d}-{day:02d}-{year:02d}")
        )

    def money(self, about: float, *, cents: bool = True) -> str:
        amount = about * self.rng.lognormvariate(0, 0.8)
        return f"{amount:,.2f}" if cents else f"{round(amount, -2 if amount > 5000 else 0):,.0f}"

    def subject(self) -> str:
        """A subject line."""
        forms = (
            "{brand} - {activity}",
            "{quantity} of {product}",
            "{doc} for {company}",
            "{process} trials, {town}",
            "Request for {doc}",
            "{year} {department} {doc}",
            "{meeting} of {shortdate}",
            "{material} from {company}",
            "Status of {activity}",
            "{brand} {quantity}",
            "Visit to {town}",
        )
        text = self.say(self.rng.choice(forms))
        return text[0].upper() + text[1:]

    def title(self) -> str:
        """The title of a study."""
        forms = (
            "Effect of {process} on the {quantity} of {material}",
            "{quantity} of {product}s: A {adjective} Dose Study",
            "Determination of {material} in {product}s by {process}",
            "A Comparison of {small} Methods for {quantity}",
            "The Influence of {material} on {quantity} and {quantity2}",
            "{process} of {material}: Final Report",
            "Studies on {material}. Part {digit}. {quantity}",
            "Relation of {quantity} to {quantity2} in {group}",
        )
        text = self.say(self.rng.choice(forms))
        return text[0].upper() + text[1:]

    def pick(self, options: Sequence[str]) -> str:
        return self.say(self.rng.choice(options))
