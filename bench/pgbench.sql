-- What a careful team would write by hand: the same life cycle on the same tables, one call per step. Favoured against ours: no list of
-- entries to seal, shorter addresses, no digest of the content, and no second look at a key (a conflict simply raises).
CREATE FUNCTION bench_hold(name text, payer text, held text, price bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE entry bigint; paid bigint; kept bigint;
BEGIN
  INSERT INTO entries (key, kind, content, at) VALUES (name, 'hold', '', 0) RETURNING id INTO entry;
  UPDATE accounts SET balance = balance - price WHERE address = payer RETURNING balance INTO paid;
  UPDATE accounts SET balance = balance + price WHERE address = held RETURNING balance INTO kept;
  INSERT INTO legs (entry_id, position, account, amount, balance_after)
  VALUES (entry, 0, payer, -price, paid), (entry, 1, held, price, kept);
  INSERT INTO holds (entry_id, key, payer, amount, expires_at) VALUES (entry, name, payer, price, 0);
END $$;

CREATE FUNCTION bench_capture(name text, hold text, held text, miner text, author text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE entry bigint; price bigint; kept bigint; mined bigint; written bigint;
BEGIN
  INSERT INTO entries (key, kind, content, at) VALUES (name, 'capture', '', 0) RETURNING id INTO entry;
  UPDATE holds SET closed_by = entry WHERE key = hold AND closed_by IS NULL RETURNING amount INTO STRICT price;
  UPDATE accounts SET balance = balance - price WHERE address = held RETURNING balance INTO kept;
  UPDATE accounts SET balance = balance + price * 85 / 100 WHERE address = miner RETURNING balance INTO mined;
  UPDATE accounts SET balance = balance + price * 5 / 100 WHERE address = author RETURNING balance INTO written;
  INSERT INTO legs (entry_id, position, account, amount, balance_after)
  VALUES (entry, 0, held, -price, kept), (entry, 1, miner, price * 85 / 100, mined), (entry, 2, author, price * 5 / 100, written),
    (entry, 3, 'fees', price / 10, NULL);
END $$;

INSERT INTO accounts (address, guarded, balance)
SELECT 'w' || n, true, 1000000000000 FROM generate_series(1, 10000) n UNION ALL SELECT 'h' || n, true, 0 FROM generate_series(1, 10000) n
UNION ALL SELECT 'm' || n, true, 0 FROM generate_series(1, 1000) n UNION ALL SELECT 'a' || n, true, 0 FROM generate_series(1, 1000) n;
