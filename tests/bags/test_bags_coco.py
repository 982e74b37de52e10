from savos_ros.bags.coco import category_ids


def test_a_class_has_one_number_in_every_bag():
    first, second = category_ids({"car", "7", "person"}), category_ids({"007", "bike", "car"})
    assert first["7"] == 7 and first["car"] == second["car"] == 1797874084
    every = first | second
    assert len(set(every.values())) == len(every) == 5
    assert all(2**30 <= number < 2**31 for name, number in every.items() if name != "7")
    clash = category_ids({"car", "1797874084"})
    assert clash == {"1797874084": 1797874084, "car": 1797874085}
