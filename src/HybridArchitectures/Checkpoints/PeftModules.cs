using HybridArchitectures.Adapters;
using HybridArchitectures.Models;

namespace HybridArchitectures.Checkpoints;

/// <summary>Contains the linear layers of a model of a family by name.</summary>
sealed class PeftModules
{
    const string Weight = ".weight", Head = "lm_head";

    readonly PretrainedFamily family;
    readonly Dictionary<string, PeftModule> byName = new(StringComparer.Ordinal);
    readonly HashSet<string> unfit = new(StringComparer.Ordinal);

    public PeftModules(HybridLanguageModel model, PretrainedFamily family)
    {
        this.family = family;
        var sites = LoraSites.FromModel(model);
        // a tied head uses the table of the embedding, but its adapter affects only the head
        var inside = sites.Where(site => site.Target != LoraTargets.Head).ToDictionary(site => site.Name, StringComparer.Ordinal);
        foreach (var rule in family.Tensors(model.Design).SelectMany(choice => choice.Forms[0]))
        {
            PeftPart[] parts = [.. rule.Parts.Where(part => inside.ContainsKey(part.Name))
                .Select(part => new PeftPart(inside[part.Name], part.Expert))];
            string name = rule.File.EndsWith(Weight, StringComparison.Ordinal) ? rule.File[..^Weight.Length] : rule.File;
            bool fits = name != rule.File && !rule.IsFilter && rule.Parts.All(part => part.Rows is null)
                && parts.Length == rule.Parts.Count && (parts.Length == 1 || rule.Dimension == 0)
                && parts.All(part => part.Site.Weight.dim() == (part.Expert is null ? 2 : 3));
            if (fits) byName.Add(name, new(name, parts));
            else unfit.Add(name);
        }
        if (sites.FirstOrDefault(site => site.Target == LoraTargets.Head) is { } head)
        {
            unfit.Remove(Head);
            byName[Head] = new(Head, [new(head, null)]);
        }
    }

    public IEnumerable<PeftModule> All => byName.Values;

    /// <summary>Returns the module with a name, in any spelling that the family uses.</summary>
    public PeftModule? Find(string name)
    {
        string canonical = family.Canonical(name + Weight);
        return byName.GetValueOrDefault(canonical.EndsWith(Weight, StringComparison.Ordinal) ? canonical[..^Weight.Length] : canonical);
    }

    /// <summary>
    /// Returns names by which PEFT selects exactly these modules: the last parts of their names, or the full names if the last parts would select
    /// other modules too.
    /// </summary>
    public IReadOnlyList<string> TargetsOf(IReadOnlyCollection<string> adapted)
    {
        string[] ends = [.. adapted.Select(name => name[(name.LastIndexOf('.') + 1)..]).Distinct().Order(StringComparer.Ordinal)];
        bool IsSelected(string name) => ends.Any(end => name == end || name.EndsWith("." + end, StringComparison.Ordinal));
        return byName.Keys.Concat(unfit).Any(name => IsSelected(name) && !adapted.Contains(name)) ? [.. adapted.Order(StringComparer.Ordinal)] : ends;
    }
}
