BEGIN TRANSACTION;
CREATE TABLE checkpoints (
	run_id INTEGER NOT NULL, 
	part BIGINT NOT NULL, 
	parts BIGINT NOT NULL, 
	entries BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	content BLOB NOT NULL, 
	checksum BIGINT NOT NULL, 
	PRIMARY KEY (run_id, part), 
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "checkpoints" VALUES(1,0,2,5,'state',X'7B22666F726D6174223A317D',3529931356);
INSERT INTO "checkpoints" VALUES(1,1,2,5,'settled',X'00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',3046032438);
CREATE TABLE documents (
	run_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	body TEXT NOT NULL, checksum BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (run_id, name), 
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "documents" VALUES(1,'verdict','{"sentence":"kept"}',2083357197);
CREATE TABLE evolute_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT evolute_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "evolute_version" VALUES('0003');
CREATE TABLE leases (
	digest VARCHAR(64) NOT NULL, 
	owner TEXT NOT NULL, 
	beat BIGINT NOT NULL, 
	seconds DOUBLE NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE protocols (
	id INTEGER NOT NULL, 
	text TEXT NOT NULL, digest VARCHAR(64) DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (text)
);
INSERT INTO "protocols" VALUES(1,'{"width":0}','c14aace45a6102c1b01b946f17c09af7221afa74869cba4863b5dcdd382bcb4a');
INSERT INTO "protocols" VALUES(2,'{"width":1}','ca52e809cdde8bde4415f3a055493f0d44a6f9a9a13116c11f23b3be8467ad25');
CREATE TABLE run_entries (
	run_id INTEGER NOT NULL, 
	position BIGINT NOT NULL, 
	trial_id INTEGER NOT NULL, 
	facts TEXT NOT NULL, checksum BIGINT DEFAULT '0' NOT NULL, trial VARCHAR(64) DEFAULT '' NOT NULL, protocol_id INTEGER DEFAULT '0' NOT NULL, outcome TEXT DEFAULT '' NOT NULL, fitness DOUBLE, unsettled BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (run_id, position), 
	FOREIGN KEY(run_id) REFERENCES runs (id), 
	FOREIGN KEY(trial_id) REFERENCES trials (id)
);
INSERT INTO "run_entries" VALUES(1,0,1,'{"at":0,"outcome":"finished"}',1718369109,'fbc3990fa90b054513bf2154dd1c772414fda41374eb2784de56edf6f992e5ba',1,'finished',-0.1,0);
INSERT INTO "run_entries" VALUES(1,1,2,'{"at":1,"outcome":"diverged"}',3927185107,'15af95d002f487ce1c3a8441638ba7cb4e78741b87740dab7e8b031b37d307ec',2,'diverged',NULL,0);
INSERT INTO "run_entries" VALUES(1,2,3,'{"at":2,"outcome":"timed out"}',3496918777,'8d433fc0919fe47bf1539122add8d84a2097aa7c361bf0dfeb220ff01d872729',1,'timed out',NULL,1);
INSERT INTO "run_entries" VALUES(1,3,4,'{"at":3,"outcome":"degenerate"}',234210634,'ee368bc0ca745f2becb8e1c293306bf09f9b3eeff71bb81dde306efd493181f8',2,'degenerate',NULL,0);
INSERT INTO "run_entries" VALUES(1,4,1,'{"at":0,"outcome":"finished"}',1611505909,'fbc3990fa90b054513bf2154dd1c772414fda41374eb2784de56edf6f992e5ba',1,'finished',-0.1,0);
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	config_json TEXT NOT NULL, 
	program_version TEXT NOT NULL, 
	created_at TEXT NOT NULL, checksum BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (digest)
);
INSERT INTO "runs" VALUES(1,'abababababababababababababababababababababababababababababababab','kept','{"seed":0}','1','2026-11-22T12:00:00.000+00:00',2666692013);
CREATE TABLE trials (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	rule TEXT NOT NULL, 
	task TEXT NOT NULL, 
	task_version TEXT NOT NULL, 
	protocol_id INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	program_version TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	sentence TEXT NOT NULL, 
	fitness DOUBLE, 
	learning_rate DOUBLE, 
	loss DOUBLE, 
	metric DOUBLE, 
	train_loss DOUBLE, 
	steps BIGINT, 
	curve TEXT NOT NULL, 
	seconds DOUBLE NOT NULL, 
	created_at TEXT NOT NULL, 
	machine TEXT NOT NULL, checksum BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (digest), 
	FOREIGN KEY(protocol_id) REFERENCES protocols (id)
);
INSERT INTO "trials" VALUES(1,'fbc3990fa90b054513bf2154dd1c772414fda41374eb2784de56edf6f992e5ba','none: g*0','digits','1',1,0,'1','finished','trained to its end',-0.1,0.1,0.1,NULL,4.94065645841247e-324,900,'[[200,0.3333333333333333,null,"inf",1.0]]',2.0,'2026-11-22T12:00:01.000+00:00','a processor, torch 2',3332234674);
INSERT INTO "trials" VALUES(2,'15af95d002f487ce1c3a8441638ba7cb4e78741b87740dab7e8b031b37d307ec','none: g*1','digits','1',2,1,'1','diverged','the loss became NaN at step 3',NULL,NULL,NULL,NULL,NULL,NULL,'[[200,0.3333333333333333,null,"inf",1.0]]',2.0,'2026-11-22T12:00:01.000+00:00','a processor, torch 2',3586932785);
INSERT INTO "trials" VALUES(3,'8d433fc0919fe47bf1539122add8d84a2097aa7c361bf0dfeb220ff01d872729','none: g*2','digits','1',1,2,'1','timed out','took longer than 60 s',NULL,NULL,NULL,NULL,NULL,NULL,'[]',2.0,'2026-11-22T12:00:01.000+00:00','a processor, torch 2',738975479);
INSERT INTO "trials" VALUES(4,'ee368bc0ca745f2becb8e1c293306bf09f9b3eeff71bb81dde306efd493181f8','none: g*3','digits','1',2,3,'1','degenerate','no gradient reaches the update ∇',NULL,NULL,NULL,NULL,NULL,NULL,'[]',2.0,'2026-11-22T12:00:01.000+00:00','a processor, torch 2',3212850967);
CREATE INDEX trials_by_fitness ON trials (fitness);
CREATE INDEX trials_by_task_and_fitness ON trials (task, fitness);
CREATE UNIQUE INDEX protocols_by_digest ON protocols (digest);
CREATE INDEX run_entries_by_trial ON run_entries (trial_id, run_id, position);
CREATE INDEX run_entries_by_outcome ON run_entries (run_id, outcome, trial_id);
CREATE INDEX run_entries_in_short ON run_entries (run_id, position, trial, outcome, fitness);
CREATE INDEX run_entries_unsettled ON run_entries (run_id) WHERE unsettled = 1;
CREATE INDEX run_entries_by_fitness ON run_entries (run_id, protocol_id, fitness DESC, position);
COMMIT;
