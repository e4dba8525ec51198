using System.Text.Json.Nodes;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Training.Tests;

namespace HybridArchitectures.Cli.Tests;

public sealed class SweepFileTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    SweepFile Read(string name, string text)
    {
        File.WriteAllText(folder[name], text);
        return SweepFile.Read(folder[name]);
    }

    string Refused(string name, string text)
    {
        string message = Assert.Throws<InvalidDataException>(() => Read(name, text)).Message;
        Assert.StartsWith(folder[name], message);
        return message[folder[name].Length..];
    }

    [Fact]
    public void Yaml_and_json_describe_the_same_sweep()
    {
        SweepFile json = Read("sweep.json", SweepFile.Example), yaml = Read("sweep.yml", SweepFile.YamlExample);
        Assert.Equal(json.Designs, yaml.Designs);
        Assert.Equal(json.Seeds, yaml.Seeds);
        Assert.Equal(json.Tasks, yaml.Tasks);
        Assert.Equal((json.Folder, json.Data, json.LearningRate, json.ContextLength, json.BatchSize, json.Steps, json.MatchParameters),
            (yaml.Folder, yaml.Data, yaml.LearningRate, yaml.ContextLength, yaml.BatchSize, yaml.Steps, yaml.MatchParameters));
    }

    const string Head = "folder: f\ndata: d\ndesigns:\n  - name: a\n    design: x\n";

    [Fact]
    public void Values_are_those_of_json_and_quotes_make_text()
    {
        var file = Read("a.yaml", Head + "    learningRate: 1e-3\n    family: \"7\"\nsteps: 12 # comment\ntokenizer: null\nmatchParameters: false\n");
        Assert.Equal((1e-3, "7"), (file.Designs[0].LearningRate!.Value, file.Designs[0].Family));
        Assert.Equal((12, null, false), (file.Steps, file.Tokenizer, file.MatchParameters));
    }

    [Theory]
    [InlineData("stepz: 3\n", ": line 6, key 'stepz': ")]
    [InlineData("steps: many\n", ": line 6, key 'steps': expected a whole number.")]
    [InlineData("matchParameters: 1\n", ": line 6, key 'matchParameters': expected true or false.")]
    [InlineData("learningRate: fast\n", ": line 6, key 'learningRate': expected a number.")]
    [InlineData("tokenizer: [1]\n", ": line 6, key 'tokenizer': expected text.")]
    [InlineData("seeds:\n  - 1\n  - two\n", ": line 8, key 'seeds[1]': ")]
    [InlineData("data: again\n", ": line 6, key 'data': the key is there twice")]
    [InlineData("seeds: &all [1]\n", ": line 6, key 'seeds': an anchor")]
    [InlineData("seeds: *all\n", ": line 6, key 'seeds': an alias")]
    [InlineData("steps: !!int 3\n", ": line 6, key 'steps': a tag")]
    [InlineData("steps: [1\n", ": line ")]
    [InlineData("---\nfolder: g\n", ": line 6: a second document")]
    public void Errors_of_yaml_name_file_line_and_key(string text, string expected) => Assert.StartsWith(expected, Refused("a.yaml", Head + text));

    [Fact]
    public void Errors_of_json_name_file_line_and_key()
    {
        const string start = "{ \"folder\": \"f\", \"data\": \"d\", \"designs\": [],\n";
        Assert.StartsWith(": line 2, key 'stepz': ", Refused("a.json", start + "\"stepz\": 3 }"));
        Assert.StartsWith(": line 2, key 'steps': ", Refused("a.json", start + "\"steps\": \"many\" }"));
        Assert.StartsWith(": the file is empty; expected 1 to", Refused("empty.yaml", ""));
        Assert.Matches("^: line [12]: the file is empty; expected keys and values", Refused("comment.yaml", "# no keys\n"));
        string deep = new string('[', 40) + new string(']', 40);
        Assert.Contains("nested more than 32 levels", Refused("deep.yaml", $"folder: {deep}\n"));
    }

    [Theory]
    [InlineData("", "duration has 0 of steps, tokens and seconds; expected exactly one, such as steps: 1000.")]
    [InlineData("steps: 1\ntokens: 1\n", "duration has 2 of steps, tokens and seconds; expected exactly one, such as steps: 1000.")]
    [InlineData("seconds: 1e300\n", "seconds is 1E+300; expected 0.001 to 1000000000.")]
    [InlineData("seconds: 1e-9\n", "seconds is 1E-09; expected 0.001 to 1000000000.")]
    public void A_duration_is_refused_in_words_of_the_file(string keys, string expected)
    {
        File.WriteAllText(folder["text.txt"], string.Join(' ', Enumerable.Range(0, 300)));
        var file = Read("a.yaml", "folder: f\ndata: d\ndesigns:\n  - name: a\n    design: \"M:width=16,state=4,head=8,feed=16\"\n" + keys);
        using var text = TextData.Load(folder["text.txt"], null);
        Assert.StartsWith(expected, Assert.ThrowsAny<ArgumentException>(() => file.ToOptions(text)).Message);
    }

    [Fact]
    public void The_schema_names_every_key_of_the_examples()
    {
        var schema = JsonNode.Parse(SweepFile.JsonSchema)!["properties"]!.AsObject();
        foreach (var (key, _) in JsonNode.Parse(SweepFile.Example)!.AsObject()) Assert.True(schema.ContainsKey(key), key);
    }
}
