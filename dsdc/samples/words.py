"""Word lists. Every name here is made of parts, so that none is a real person, place, brand or company."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _bars(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


FIRST = _words(
    "Harold Walter Eugene Ralph Marion Vernon Lester Doris Lorraine Betty Judith Carol Patricia Nancy Denise Karen "
    "Gerald Donald Kenneth Roger Stanley Clifford Milton Leonard Arthur Edwin Hubert Wesley Russell Theodore Sheila "
    "Rosalind Marjorie Phyllis Elaine Yvonne Gwen Martha Irene René Agnès Jürgen Tomás Ingrid Philippe Anil Mei Carlos "
    "Dale Kirk Todd Brent Lisa Tina Scott Jill Heather Brian Kevin Amy Laurie Glenn Keith Alan Neil Joyce Bonnie"
)

SURNAME_HEAD = _words(
    "Hal Brack Tor Wend Mar Cal Fen Lor Ash Quill Dun Pem Stan Whit Gar Ol Eld Mor Ren Thorn Bas Cren Vos Kel Har Lind "
    "Tarr Wex Ing Brom Skel Ferr Dray Holl Pratt Yar Sund Nor Bell Gris"
)
SURNAME_TAIL = _words(
    "vern well mey rick ston by field dale worth man gate combe ley mere wick stead ridge thorpe ham more ner son "
    "quist berg er ling ford brook lock shaw"
)

TOWN_HEAD = _bars(
    "Port Ellery|Wexford Falls|Caldwick|Harrowgate Springs|Mill Tarrant|New Brackley|Osterville Park|Pinemont|"
    "Quarry Hill|Ridgeway|Saint Orrin|Tallow Creek|Upper Marden|Vernal Heights|Westerly Point|Yarrow|Lindale|"
    "Brantley Junction|Fort Cassel|Elk Landing|Dunmore Station|Grand Tarn"
)
STATES = _words(
    "Ohio Virginia Kentucky Georgia Indiana Missouri Connecticut Illinois Delaware Maryland Tennessee Wisconsin"
)
STATE_CODES = _words("OH VA KY GA IN MO CT IL DE MD TN WI NC NJ NY PA")
STREETS = _bars(
    "Chandler Avenue|North Mill Street|Commerce Street|Old Depot Road|Industrial Parkway|Fourth Street|Park Place|"
    "Larkin Boulevard|Quaker Lane|West Ferry Road|Exchange Plaza|Sycamore Drive|Foundry Row|University Circle"
)

COMPANY_TAIL = _bars(
    "Tobacco Company|Laboratories, Inc.|Paper Corporation|& Associates|Chemical Company|Advertising, Inc.|Foods, Inc.|"
    "International|Instruments Corp.|Packaging Corporation|Research Institute|Brands, Inc.|Leaf Dealers, Ltd.|"
    "Industries|Marketing Group|Foundation|Consultants, Inc.|Graphics|Filter Products|Supply Co."
)
INSTITUTES = _bars(
    "{hs} State University|University of {hs} County|{hs} Medical College|{hs} Institute of Technology|"
    "{hs} Memorial Hospital|{hs} Polytechnic Institute|School of Medicine, {hs} University|Université de Saint-{hs}"
)

DEPARTMENTS = _bars(
    "Research and Development|Product Development|Marketing|Brand Management|Sales Planning|Legal|Purchasing|"
    "Corporate Affairs|Manufacturing|Quality Assurance|Accounting|Finance|Human Resources|Engineering|Media Services|"
    "Information Services|Process Development|Analytical Services|Public Relations|Field Sales|Leaf Operations"
)
JOBS = _bars(
    "Vice President|Director|Manager|Senior Scientist|Associate Scientist|Brand Manager|Group Leader|Secretary|"
    "Assistant Director|Supervisor|General Counsel|Analyst|Coordinator|Research Chemist|Account Executive|Treasurer|"
    "Staff Engineer|Section Head|Administrative Assistant|Media Planner"
)
DEGREES = ("Ph.D.", "M.D.", "M.S.", "B.S.", "B.A.", "M.B.A.", "D.V.M.", "Sc.D.", "M.P.H.", "J.D.")
FIELDS = _bars(
    "Chemistry|Biochemistry|Physiology|Pathology|Chemical Engineering|Statistics|Economics|Pharmacology|Biology|"
    "Business Administration|Journalism|Marketing|Psychology|Agronomy|Physics|Microbiology|Internal Medicine"
)
SOCIETIES = _bars(
    "American Society of Aerosol Chemists|National Board of Pathology Fellows|Society for Leaf Science|Sigma Tau Honor "
    "Society|Regional Academy of Sciences|Circle of Food Process Engineers|Phi Lambda Rho|Eastern Statistical "
    "Association|Marketing Forum of the Midwest|Society of Filtration Engineers|Association of Trial Counsel"
)
JOURNALS = _bars(
    "J. Aerosol Chem.|Ann. Leaf Sci.|Arch. Exp. Pathol. Rev.|Proc. Soc. Filtr. Eng.|J. Appl. Cell Physiol.|"
    "Respir. Biol. Lett.|J. Consumer Meas.|Toxicol. Rep. Quart.|Mutagen. Notes|Chromatogr. Abstr.|Nord. J. Biochem."
)
JOURNALS_LONG = _bars(
    "JOURNAL OF AEROSOL CHEMISTRY|ANNALS OF LEAF SCIENCE|ARCHIVES OF EXPERIMENTAL BIOLOGY REVIEW|RESPIRATORY BIOLOGY "
    "LETTERS|TOXICOLOGY REPORTS QUARTERLY|MUTAGENESIS NOTES|JOURNAL OF APPLIED CELL PHYSIOLOGY|CHROMATOGRAPHY ABSTRACTS"
)
PAPERS = _bars(
    "The {hs} Courier|The Daily {hs}|{hs} Evening Ledger|The {hs} Times-Dispatcher|{hs} Business Week in Review|"
    "The {hs} Herald|{hs} Sunday Journal|United Leaf Journal|The {hs} Star-Record|Beverage & Tobacco Trade News"
)
MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday")

#: What a company in each trade talks about: products, materials, processes, measured quantities, brands.
TRADES: dict[str, dict[str, tuple[str, ...]]] = {
    "tobacco": {
        "product": _bars(
            "cigarette|filter cigarette|menthol 100's|low-tar product|king-size carton|box product|reduced-sidestream "
            "cigarette|cigarillo|slim product|ultra-light style|smokeless pouch|loose-leaf blend|charcoal filter"
        ),
        "material": _bars(
            "burley strip|expanded tobacco|reconstituted sheet|cellulose acetate tow|tipping paper|plug wrap|cigarette "
            "paper|casing|menthol|glycerin|cut filler|stem|flue-cured leaf|oriental leaf|triacetin|humectant"
        ),
        "process": _bars(
            "drying|expansion|blending|casing application|ventilation|smoke generation|leaf grading|cutting|filter rod "
            "making|packing|top-flavor application|steam treatment"
        ),
        "quantity": _bars(
            "tar delivery|nicotine|carbon monoxide|puff count|pressure drop|rod length|tipping length|paper porosity|"
            "circumference|moisture content|filling power|static burn time|total particulate matter|filter efficiency|"
            "dilution|firmness"
        ),
        "brand": _bars(
            "Carrowmore|Halcyon Lights|Tamber|Winslet Gold|Marlowe Park|Northline|Pellam 100's|Satin Leaf|Bridger"
        ),
        "place": _bars(
            "vending machines|convenience stores|supermarkets|military outlets|tobacco counters|drug chains"
        ),
    },
    "chemical": {
        "product": _bars(
            "adhesive|coating resin|solvent blend|emulsion|catalyst|polymer|extract|reagent|pigment paste"
        ),
        "material": _bars(
            "vinyl acetate|propylene glycol|ethanol|sodium carbonate|activated carbon|silica gel|toluene|acetic acid|"
            "potassium citrate|magnesium oxide|ammonium phosphate"
        ),
        "process": _bars(
            "distillation|extraction|filtration|titration|calcination|polymerization|gas chromatography|milling"
        ),
        "quantity": _bars(
            "boiling point|vapor pressure|specific gravity|viscosity|acid number|percent solids|flash point|purity|"
            "melting point|refractive index|ash content|particle size|pH"
        ),
        "brand": _bars("Polyvane 40|Resicol|Duraflow|Terracet|Quellon S|Amberol Plus"),
        "place": _bars("tank cars|pilot plants|receiving docks|contract laboratories"),
    },
    "food": {
        "product": _bars(
            "frozen entree|instant coffee|beverage powder|snack cracker|dessert topping|cola|breakfast cereal"
        ),
        "material": _bars(
            "corn syrup|cocoa|milk solids|vegetable oil|vanilla extract|citric acid|wheat flour|roasted beans"
        ),
        "process": _bars("roasting|freezing|baking|bottling|agglomeration|packaging|pasteurizing|taste testing"),
        "quantity": _bars(
            "shelf life|sweetness|moisture|fill weight|color score|acidity|bulk density|breakage|fat content"
        ),
        "brand": _bars("Golden Mesa|Pantry Crest|Aunt Tilly's|Bramble & Oat|Javelina Roast|Frostwell"),
        "place": _bars("supermarkets|cafeterias|club stores|vending machines|test kitchens"),
    },
    "medicine": {
        "product": _bars("nasal spray|transdermal patch|inhaler|tablet|assay kit|cell line|antiserum|vaccine"),
        "material": _bars(
            "rat liver microsomes|alveolar macrophages|plasma|bronchial epithelium|hamster embryo cells|serum albumin|"
            "collagenase|lung tissue|urine specimens|condensate fractions"
        ),
        "process": _bars(
            "inhalation exposure|dermal application|incubation|necropsy|radioimmunoassay|histologic examination"
        ),
        "quantity": _bars(
            "body weight|carboxyhemoglobin|enzyme activity|tumor incidence|mortality|heart rate|protein concentration|"
            "revertants per plate|lung volume|clearance half-time|blood pressure"
        ),
        "brand": _bars("Respiron|Nicolene|Cardivane|Pulmisol"),
        "place": _bars("clinics|teaching hospitals|animal facilities|outpatient wards"),
    },
}
