r"""Runs other people's loss code where TRL 1.16 has no counterpart, and writes down what came out.

`tests/objectives/test_peers.py` compares; `scripts/compared.py` makes the table of who was compared with whom. Each
function is taken as it stands out of a wheel or a checkout and run; nothing of their code is kept but a hash of each
function's text. Their packages are not installed.

    pip download --no-deps --ignore-requires-python --dest PEERS openrlhf==0.8.5 oat-llm==0.2.4 oxrl==1.7.2 \
        trl==0.12.2 nemo-aligner==0.7.0 llamafactory==0.9.5 llm-blender==0.0.2
    cd PEERS; for at in \
        thu-ml/Noise-Contrastive-Alignment@366990687282bb46ec82d0559afae44415d44582 \
        UMass-SCALAR-Lab/HC-RLHF@729793ca3281b760f77c8ea67d16502214cb2bde \
        saramal/RePO-A_Regret_Minimization_Framework_on_Preference_Learning_in_Large_Language_Models@3a21b16
    do git clone https://github.com/${at%@*} ${at%@*} && git -C ${at%@*} checkout ${at#*@}; done; cd -
    pip install torch choix==0.4.1 statsmodels==0.15.0
    python scripts/make_peer_fixtures.py PEERS
"""

from __future__ import annotations

import sys
from pathlib import Path

from peers import authors, frameworks, old_trl, openrlhf, rank_likelihoods
from peers.inputs import TESTS
from peers.notebook import Notebook

LICENCES = {
    "openrlhf 0.8.5": "Apache-2.0",
    "oat-llm 0.2.4": "Apache-2.0",
    "oxrl 1.7.2": "Apache-2.0",
    "trl 0.12.2": "Apache-2.0",
    "nemo-aligner 0.7.0": "Apache-2.0",
    "llamafactory 0.9.5": "Apache-2.0",
    "llm-blender 0.0.2": "Apache-2.0",
    "choix 0.4.1": "MIT",
    "statsmodels 0.15.0": "BSD-3-Clause",
    "thu-ml/Noise-Contrastive-Alignment": "MIT",
    "UMass-SCALAR-Lab/HC-RLHF": "Apache-2.0",
    "saramal/RePO-A_Regret_Minimization_Framework_on_Preference_Learning_in_Large_Language_Models": "Apache-2.0",
}


def main(folder: str) -> None:
    """Writes the fixtures."""
    book = Notebook(Path(folder), LICENCES)
    for run in (
        *(openrlhf.openrlhf, openrlhf.openrlhf_steps, openrlhf.openrlhf_ppo),
        *(frameworks.oat, frameworks.oxrl, frameworks.nemo_aligner, frameworks.llama_factory, frameworks.repo),
        *(old_trl.trl_bco, old_trl.trl_wpo),
        *(authors.llm_blender, authors.noise_contrastive, authors.safe_rlhf),
        rank_likelihoods.rankings,
    ):
        run(book)
    book.write(TESTS / "peer_fixtures.json", "scripts/make_peer_fixtures.py")
    print(f"wrote {len(book.results)} results of {len({result['by'] for result in book.results})} code bases")


if __name__ == "__main__":
    main(sys.argv[1])
