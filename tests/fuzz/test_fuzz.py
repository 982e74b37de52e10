import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutator import mutate
from tests.fuzz.readers import READERS

MOST_SECONDS = 10.0  # of computing, for a file of a few kB on a busy machine
EXAMPLES = max(25, settings.default.max_examples // 4)  # --hypothesis-profile long: many more
BY_NAME = {reader.name: reader for reader in READERS}


@pytest.mark.parametrize("name", BY_NAME)
def test_only_documented_errors_come_out_of_damaged_files(name, tmp_path):
    reader = BY_NAME[name]
    path = reader.write(tmp_path)
    sample = path.read_bytes()
    reader.read(path)  # the sample is good

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
        derandomize=EXAMPLES == 25,  # a change is judged by the same files each time
    )
    @given(st.binary(max_size=36))
    def read(recipe):
        path.write_bytes(mutate(sample, recipe))
        begun = time.process_time()
        try:
            reader.read(path)
        except reader.errors as error:
            assert str(error)
        assert time.process_time() - begun < MOST_SECONDS

    read()
